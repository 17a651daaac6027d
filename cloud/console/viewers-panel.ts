/** Who watches a stream: each can be taken off it, and the console joins where only apps keep it live. */
import { CONSOLE_APP, type KnownStream } from './console-state.ts';
import { ask } from './dialogs.ts';
import { byId, createKeyedList, errorText, type ListItem, make, setText } from './elements.ts';
import type { RelayLink } from './relay-link.ts';

export interface ViewersPanel {
  /** @param running undefined when nothing runs. */
  render(running: KnownStream | undefined): void;
}

export function createViewersPanel(link: () => RelayLink | undefined): ViewersPanel {
  let shown: KnownStream | undefined;
  const problem = byId('viewers-problem');
  const join = byId<HTMLButtonElement>('join-button');
  const showViewers = createKeyedList<string>(byId('viewers'), {
    keyOf: (viewer) => viewer,
    create: (viewer) => createRow(viewer, (button) => act(button, () => remove(viewer))),
  });

  async function remove(viewer: string): Promise<void> {
    if (!shown) return;
    const { streamId, viewers = [] } = shown;
    const isOurs = viewer === CONSOLE_APP;
    const others = viewers.filter((one) => one !== viewer);
    const told = isOurs ? '' : `${viewer} is told that the operator did it, and may ask for the stream again. `;
    const rest = others.length === 0 ? 'Nobody else watches: the stream ends.' : 'The stream goes on for the others.';
    const label = isOurs ? 'Leave' : 'Remove';
    const title = isOurs ? 'Leave the stream?' : 'Remove this viewer?';
    const answers = [{ value: 'remove', label, isDangerous: true }];
    if (await ask({ title, text: `${told}${rest}`, answers })) await link()?.removeViewer(streamId, viewer);
  }

  async function act(button: HTMLButtonElement, work: () => Promise<unknown> | undefined): Promise<void> {
    const streamId = shown?.streamId;
    button.disabled = true;
    setText(problem, '');
    try {
      await work();
    } catch (error) {
      if (shown?.streamId === streamId) setText(problem, errorText(error));
    } finally {
      button.disabled = false;
    }
  }

  // Whoever joins takes the stream as it is.
  join.addEventListener('click', () => {
    const userId = shown?.userId;
    if (userId !== undefined) void act(join, () => link()?.startStream(userId, { video: {}, audio: {} }));
  });
  return {
    render(running) {
      if (running?.streamId !== shown?.streamId) setText(problem, '');
      shown = running;
      const viewers = running?.viewers ?? [];
      showViewers(viewers);
      setText(byId('viewers-count'), viewers.length > 0 ? String(viewers.length) : '');
      byId('viewers-empty').hidden = viewers.length > 0;
      setText(byId('viewers-empty'), running ? 'Nobody watches.' : 'Apps that watch will stand here.');
      const canJoin = running !== undefined && running.kind !== 'unmanaged' && running.state !== 'stopping';
      byId('join').hidden = !canJoin || viewers.length === 0 || viewers.includes(CONSOLE_APP);
    },
  };
}

function createRow(viewer: string, press: (button: HTMLButtonElement) => Promise<void>): ListItem<string> {
  const isOurs = viewer === CONSOLE_APP;
  const name = isOurs ? 'The console' : viewer;
  const label = isOurs ? 'Leave the stream' : `Remove the viewer ${viewer}`;
  const button = make('button', { type: 'button', class: 'small', 'aria-label': label }, isOurs ? 'Leave' : 'Remove');
  button.addEventListener('click', () => void press(button));
  return {
    node: make('li', {}, make('span', { class: 'name', title: isOurs ? CONSOLE_APP : viewer }, name), button),
    update() {},
  };
}
