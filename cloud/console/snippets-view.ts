/** Snippets to copy, one tab for each use. */
import { byId, copyButton, make, setAttribute, setText } from './elements.ts';
import { type Snippet, type SnippetFacts, snippetsOf } from './snippets.ts';

export interface SnippetsView {
  render(facts: SnippetFacts | undefined): void;
}

export function createSnippetsView(): SnippetsView {
  const tabs = byId('snippet-tabs');
  const code = byId('snippet-code');
  const panel = byId('snippet');
  let current: Snippet['id'] = 'app';
  let shown: Snippet[] = [];
  byId('snippet-copy').replaceWith(copyButton('Copy the snippet', () => code.textContent ?? ''));

  function show(): void {
    const snippet = shown.find(({ id }) => id === current) ?? shown[0];
    if (!snippet) return;
    setText(byId('snippet-about'), snippet.about);
    setText(code, snippet.code);
    setAttribute(panel, 'aria-labelledby', `snippet-tab-${snippet.id}`);
    for (const tab of tabs.querySelectorAll<HTMLButtonElement>('button')) {
      const isCurrent = tab.id === `snippet-tab-${snippet.id}`;
      setAttribute(tab, 'aria-selected', String(isCurrent));
      tab.tabIndex = isCurrent ? 0 : -1;
    }
  }
  function choose(id: Snippet['id']): void {
    current = id;
    show();
  }
  tabs.addEventListener('keydown', (event) => {
    const step = event.key === 'ArrowRight' ? 1 : event.key === 'ArrowLeft' ? -1 : 0;
    if (step === 0) return;
    event.preventDefault();
    const at = shown.findIndex(({ id }) => id === current);
    const next = shown[(at + step + shown.length) % shown.length];
    if (!next) return;
    choose(next.id);
    byId(`snippet-tab-${next.id}`).focus();
  });

  return {
    render(facts) {
      byId('snippets-panel').hidden = !facts;
      if (!facts) return;
      shown = snippetsOf(facts);
      if (tabs.childElementCount !== shown.length) {
        tabs.replaceChildren(
          ...shown.map(({ id, title }) => {
            const attributes = { type: 'button', role: 'tab', id: `snippet-tab-${id}`, 'aria-controls': 'snippet' };
            const tab = make('button', attributes, title);
            tab.addEventListener('click', () => choose(id));
            return tab;
          }),
        );
      }
      show();
    },
  };
}
