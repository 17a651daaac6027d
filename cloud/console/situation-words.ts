/** What the page says over the picture, in whole sentences. Pure. */
import { isRunning, type KnownSession, type KnownStream } from './console-state.ts';
import { clockTime } from './formatting.ts';

export interface SituationWords {
  /** Over a picture that stands still. */
  banner: string;
  /** In place of a picture. */
  placeholder: string;
  /** Above the placeholder, when something has gone wrong. */
  title: string;
}

export interface Situation {
  session: KnownSession | undefined;
  stream: KnownStream | undefined;
  /** Of the player. */
  player: { isPlaying: boolean; hasLastPicture: boolean; message?: string };
}

export function situationWords({ session, stream, player }: Situation): SituationWords {
  const title = stream?.state === 'failed' ? 'The stream failed' : '';
  if (!isRunning(stream)) return { banner: '', placeholder: idleWords(session, stream), title };
  return { ...runningWords(session, stream, player), title };
}

function runningWords(
  session: KnownSession | undefined,
  stream: KnownStream,
  player: Situation['player'],
): Omit<SituationWords, 'title'> {
  const isPictured = player.isPlaying || player.hasLastPicture;
  const banner = bannerOf(session, stream, isPictured) || playerWords(player);
  if (player.isPlaying) return { banner, placeholder: '' };
  const hasOther = banner !== '' || player.hasLastPicture;
  return { banner, placeholder: hasOther ? '' : waitingWords(session, stream, player.message) };
}

function bannerOf(session: KnownSession | undefined, stream: KnownStream, isPictured: boolean): string {
  const isShown = stream.state === 'active' || stream.state === 'interrupted';
  if (isShown && session && !session.connected) {
    return `The glasses are away${since(session.awaySinceMs)}; waiting for them.${isPictured ? ' The picture is the last one.' : ''}`;
  }
  if (stream.state !== 'interrupted') return '';
  const why = stream.message ? ` ${sentence(stream.message)}` : '';
  const at = stream.stateSinceMs === undefined ? 'has stopped' : `stopped at ${clockTime(stream.stateSinceMs)}`;
  return `The picture ${at}.${why} Waiting for the next${isPictured ? '; this is the last one' : ''}.`;
}

/** The player sees that nothing comes before the relay does. */
function playerWords({ isPlaying, hasLastPicture, message }: Situation['player']): string {
  if (isPlaying || !hasLastPicture || message === undefined) return '';
  return `No new picture arrives: ${sentence(message)} This is the last one.`;
}

function waitingWords(
  session: KnownSession | undefined,
  { state, message }: KnownStream,
  playerMessage: string | undefined,
): string {
  if (state === 'active') {
    return playerMessage
      ? `Live, but no picture yet: ${sentence(playerMessage)} Trying again …`
      : 'Live. The picture is on its way …';
  }
  if (state === 'stopping') return 'Stopping …';
  if (session && !session.connected) {
    return `The glasses are away${since(session.awaySinceMs)}; the start waits for them.`;
  }
  const what = state === 'provisioning' ? 'Preparing the stream …' : 'The glasses are starting their camera …';
  return message ? `${what} ${sentence(message)}` : what;
}

function idleWords(session: KnownSession | undefined, stream: KnownStream | undefined): string {
  const isAway = session && !session.connected;
  if (stream?.state === 'failed') {
    const why = stream.message === undefined ? '' : `${sentence(stream.message)} `;
    return `${why}${isAway ? 'The glasses are away now; try again when they are back.' : 'Press Go live to try again.'}`;
  }
  if (isAway) {
    return `These glasses are away${since(session.awaySinceMs)}. They can go live when they are back.`;
  }
  return 'Press Go live to see what these glasses see.';
}

function since(atMs: number | undefined): string {
  return atMs === undefined ? '' : ` since ${clockTime(atMs)}`;
}

function sentence(text: string): string {
  return /[.!?…]$/.test(text) ? text : `${text}.`;
}
