/** Go live and Stop, with the settings of a start. Asks before it ends what others watch. */
import { CONSOLE_APP, isRunning, type KnownSession, type KnownStream } from './console-state.ts';
import { ask } from './dialogs.ts';
import { byId, errorText, setText } from './elements.ts';
import type { RelayLink } from './relay-link.ts';
import type { StartSettings } from './relay-shapes.ts';

export interface LiveControl {
  render(userId: string | undefined, session: KnownSession | undefined, stream: KnownStream | undefined): void;
  /** @param asksFirst before a stop, because a key is hit sooner than a button. */
  press(asksFirst: boolean): void;
  settings(): StartSettings;
}

export function createLiveControl(link: () => RelayLink | undefined, settingsChanged: () => void): LiveControl {
  const button = byId<HTMLButtonElement>('live');
  let shown: { userId: string; session: KnownSession | undefined; stream: KnownStream | undefined } | undefined;
  let busyUser: string | undefined;
  /** What went wrong, with whose glasses, and how they were: it is old when they are otherwise. */
  let failure: { text: string; userId: string; situation: string } | undefined;

  async function press(asksFirst: boolean): Promise<void> {
    const relay = link();
    if (!relay || !shown || busyUser || button.disabled) return;
    const { userId, stream } = shown;
    const situation = situationOf(stream);
    failure = undefined;
    try {
      const act = isRunning(stream)
        ? await chooseStop(relay, stream, asksFirst)
        : () => relay.startStream(userId, settings());
      if (!act) return;
      busyUser = userId;
      show();
      await act();
    } catch (error) {
      failure = { text: errorText(error), userId, situation };
    } finally {
      busyUser = undefined;
      show();
    }
  }

  function show(): void {
    const running = isRunning(shown?.stream);
    const isThere = shown?.session?.connected === true;
    setText(button, running ? 'Stop' : 'Go live');
    button.classList.toggle('stop', running);
    button.disabled =
      !shown || busyUser === shown.userId || shown.stream?.state === 'stopping' || (!running && !isThere);
    button.title = !running && shown && !isThere ? 'The glasses have to be connected' : '';
    const isNew = failure?.userId === shown?.userId && failure?.situation === situationOf(shown?.stream);
    setText(byId('failure'), failure && isNew ? failure.text : '');
    setText(byId('settings-note'), running ? 'Changes count from the next start.' : '');
  }

  button.addEventListener('click', () => void press(false));
  byId('settings').addEventListener('change', settingsChanged);
  return {
    render(userId, session, stream) {
      shown = userId === undefined ? undefined : { userId, session, stream };
      show();
    },
    press: (asksFirst) => void press(asksFirst),
    settings,
  };
}

function situationOf(stream: KnownStream | undefined): string {
  return stream ? `${stream.streamId} ${stream.state}` : '';
}

/** Undefined when nothing is to be stopped after all. */
async function chooseStop(
  relay: RelayLink,
  { streamId, userId, viewers = [] }: KnownStream,
  asksFirst: boolean,
): Promise<(() => Promise<unknown>) | undefined> {
  const others = viewers.filter((viewer) => viewer !== CONSOLE_APP);
  const isOurs = viewers.includes(CONSOLE_APP) || others.length === 0;
  const leave = () => relay.stopStream(userId);
  const end = () => relay.endStream(streamId);
  if (isOurs && others.length === 0) {
    const answers = [{ value: 'stop', label: 'Stop', isDangerous: true }];
    const isSure =
      !asksFirst || (await ask({ title: 'Stop the stream?', text: `The camera of ${userId} goes off.`, answers }));
    return isSure ? leave : undefined;
  }
  const answer = await ask({
    title: isOurs ? 'Others watch, too' : 'Stop it for everyone?',
    text: `${listed(others)} ${others.length === 1 ? 'watches' : 'watch'} this stream of ${userId}.`,
    answers: [
      ...(isOurs ? [{ value: 'leave', label: 'Leave it to them' }] : []),
      { value: 'end', label: 'Stop for everyone', isDangerous: true },
    ],
  });
  return answer === 'leave' ? leave : answer === 'end' ? end : undefined;
}

const NAMED = 3;
function listed(names: readonly string[]): string {
  const rest = names.length - NAMED;
  return rest <= 0 ? names.join(', ') : `${names.slice(0, NAMED).join(', ')} and ${rest} more`;
}

function settings(): StartSettings {
  const chosen = (id: string) => byId<HTMLSelectElement>(id).value;
  const isOn = (id: string) => byId<HTMLInputElement>(id).checked;
  const [width = 1280, height = 720] = chosen('size').split('x').map(Number);
  const bitrate = Number(chosen('bitrate'));
  return {
    video: { width, height, frameRate: Number(chosen('rate')), ...(bitrate > 0 ? { bitrate } : {}) },
    audio: { echoCancellation: isOn('echo'), noiseSuppression: isOn('noise') },
  };
}
