/** How the views make and keep elements: always as text and attributes, never as HTML, because names come from strangers. */

/** The page's own element; what is not in index.html is a defect. */
export function byId<Kind extends HTMLElement>(id: string): Kind {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found as Kind;
}

type Attributes = Record<string, string | boolean | undefined>;

/** @param attributes true sets one without a value; false and undefined leave it out. */
export function make<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Attributes = {},
  ...content: (Node | string)[]
): HTMLElementTagNameMap[Tag] {
  const made = document.createElement(tag);
  setAll(made, attributes);
  made.append(...content);
  return made;
}

const SVG = 'http://www.w3.org/2000/svg';
export function makeSvg<Tag extends keyof SVGElementTagNameMap>(
  tag: Tag,
  attributes: Attributes = {},
  ...content: Node[]
): SVGElementTagNameMap[Tag] {
  const made = document.createElementNS(SVG, tag);
  setAll(made, attributes);
  made.append(...content);
  return made;
}

function setAll(element: Element, attributes: Attributes): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) element.setAttribute(name, value === true ? '' : value);
  }
}

/** Only when it differs: a screen reader reads a live region again whenever it is written. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

export function setAttribute(element: Element, name: string, value: string | undefined): void {
  if (value === undefined) element.removeAttribute(name);
  else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

export interface ListItem<Item> {
  node: HTMLElement;
  update(item: Item): void;
}

/**
 * A list whose elements stay with their items, so that focus and scroll survive news.
 * @returns shows these items, in this order.
 */
export function createKeyedList<Item>(
  list: HTMLElement,
  { keyOf, create }: { keyOf: (item: Item) => string; create: (item: Item) => ListItem<Item> },
): (items: readonly Item[]) => void {
  let shown = new Map<string, ListItem<Item>>();
  return (items) => {
    const next = new Map<string, ListItem<Item>>();
    for (const item of items) {
      const key = keyOf(item);
      const one = shown.get(key) ?? create(item);
      one.update(item);
      next.set(key, one);
    }
    for (const [key, { node }] of shown) if (!next.has(key)) node.remove();
    let at = list.firstElementChild;
    for (const { node } of next.values()) {
      if (node === at) at = at.nextElementSibling;
      else list.insertBefore(node, at);
    }
    shown = next;
  };
}

/** A button that copies, says so for a moment, and works without a secure context, too. */
export function copyButton(label: string, textOf: () => string): HTMLButtonElement {
  const button = make('button', { type: 'button', class: 'small', 'aria-label': label }, 'Copy');
  button.addEventListener('click', () => {
    void copy(textOf()).then((isDone) => {
      button.textContent = isDone ? 'Copied' : 'Not copied';
      setTimeout(() => {
        button.textContent = 'Copy';
      }, 1500);
    });
  });
  return button;
}

async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Pages from plain http:// on other machines have no clipboard.
    const field = make('textarea', { class: 'unseen', readonly: true });
    field.value = text;
    document.body.append(field);
    field.select();
    const isDone = document.execCommand('copy');
    field.remove();
    return isDone;
  }
}

export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
