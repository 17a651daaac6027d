/** Who watches a stream, and where else it is sent: outputs are added and removed here. A key that was typed is never shown again. */
import { isRunning, type KnownStream } from './console-state.ts';
import { byId, createKeyedList, errorText, type ListItem, make, setAttribute, setText } from './elements.ts';
import { addressProblem, outputAddress } from './output-address.ts';
import type { RelayLink } from './relay-link.ts';
import type { OutputView } from './relay-shapes.ts';
import { createViewersPanel } from './viewers-panel.ts';

export interface SharingView {
  render(userId: string | undefined, stream: KnownStream | undefined): void;
}

const statusWords: Record<string, [word: string, look: string]> = {
  active: ['Sending', 'active'],
  connected: ['Sending', 'active'],
  error: ['Failed', 'failed'],
  stopped: ['Not sending', 'away'],
  disconnected: ['Not sending', 'away'],
  unknown: ['Starting', 'starting'],
};

export function createSharingView(link: () => RelayLink | undefined): SharingView {
  let shownUser: string | undefined;
  let shown: KnownStream | undefined;
  const viewers = createViewersPanel(link);
  const showOutputs = createKeyedList<OutputView>(byId('outputs'), {
    keyOf: ({ outputId, url, name }) => outputId ?? `${url} ${name}`,
    create: (output) => createOutput(output, remove),
  });

  async function remove(outputId: string): Promise<void> {
    if (shown) await link()?.removeOutput(shown.userId, outputId);
  }
  const form = startForm(async (address, name) => {
    if (!isRunning(shown)) throw new Error('There is no stream to send on; go live first.');
    await link()?.addOutput(shown.userId, { url: address, ...(name ? { name } : {}) });
  });

  return {
    render(userId, stream) {
      // What was typed was meant for the glasses that were shown.
      if (userId !== shownUser) form.clear();
      shownUser = userId;
      shown = stream;
      const running = isRunning(stream) ? stream : undefined;
      const { outputs = [] } = running ?? {};
      viewers.render(running);
      showOutputs(outputs);
      setText(byId('outputs-count'), outputs.length > 0 ? String(outputs.length) : '');
      const canAdd = running !== undefined && (running.kind ?? 'managed') === 'managed';
      byId('output-add').hidden = !canAdd;
      byId('outputs-empty').hidden = outputs.length > 0;
      setText(
        byId('outputs-empty'),
        canAdd ? 'Not sent anywhere else.' : 'While live, it can be sent on to YouTube, Twitch or any RTMP server.',
      );
    },
  };
}

function createOutput(first: OutputView, remove: (outputId: string) => Promise<void>): ListItem<OutputView> {
  const badge = make('span', { class: 'badge' });
  const problem = make('p', { class: 'problem', role: 'alert' });
  const name = make('span', { class: 'name' });
  const address = make('span', { class: 'detail' });
  const title = first.name ?? first.url;
  const button = make(
    'button',
    { type: 'button', class: 'small', 'aria-label': `Remove the output ${title}` },
    'Remove',
  );
  let failed = '';
  let last = first;
  const show = () => {
    const [word, look] = statusWords[last.status] ?? [last.status, 'away'];
    setText(badge, word);
    badge.dataset.state = look;
    setText(name, last.name ?? last.url);
    setText(address, last.name ? last.url : '');
    setAttribute(name, 'title', last.name ?? last.url);
    setText(problem, failed || (last.error ?? ''));
  };
  button.hidden = first.outputId === undefined;
  button.addEventListener('click', () => {
    const { outputId } = last;
    if (outputId === undefined) return;
    button.disabled = true;
    failed = '';
    remove(outputId)
      .catch((error: unknown) => {
        failed = errorText(error);
      })
      .finally(() => {
        button.disabled = false;
        show();
      });
  });
  return {
    node: make(
      'li',
      { class: 'output' },
      make('span', { class: 'words' }, name, make('span', { class: 'second' }, badge, address)),
      button,
      problem,
    ),
    update(output) {
      last = output;
      show();
    },
  };
}

function startForm(add: (address: string, name: string) => Promise<void>): { clear(): void } {
  const form = byId<HTMLFormElement>('output-form');
  const problem = byId('output-problem');
  const [server, key, name] = ['output-server', 'output-key', 'output-name'].map((id) => byId<HTMLInputElement>(id));
  const submit = byId<HTMLButtonElement>('output-submit');
  function clear(): void {
    form.reset();
    setText(problem, '');
    byId<HTMLDetailsElement>('output-add').open = false;
  }
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (!server || !key || !name) return;
    const address = outputAddress(server.value, key.value);
    const wrong = addressProblem(address);
    setText(problem, wrong ?? '');
    if (wrong) return server.focus();
    submit.disabled = true;
    add(address, name.value.trim())
      .then(clear)
      .catch((error: unknown) => setText(problem, errorText(error)))
      .finally(() => {
        submit.disabled = false;
      });
  });
  return { clear };
}
