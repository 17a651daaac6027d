/**
 * What must hold, throughout and once it is calm: each as a question to the product that gives what is wrong, in words. Asks
 * over the same doors as everybody; changes nothing but what it has to ask for.
 */
import type { Clock } from '../../shared/clock.ts';
import { errorText } from '../../shared/errors.ts';
import { isStreamOver, managedStatusOf, type StreamState } from '../../shared/stream.ts';
import type { Family } from './family.ts';
import type { AppSessionView, SoakApp } from './soak-apps.ts';
import type { SoakWorld, StreamJson } from './soak-world.ts';

/** One per complaint; empty: it holds. */
export type Complaints = string[];

const isOver = ({ state }: StreamJson) => isStreamOver(state as StreamState);

/** At any moment: nobody has two streams. */
export function oneStreamEach(streams: readonly StreamJson[]): Complaints {
  const running = streams.filter((stream) => !isOver(stream));
  const users = [...new Set(running.map(({ userId }) => userId))];
  return users.flatMap((userId) => {
    const own = running
      .filter((stream) => stream.userId === userId)
      .map(({ streamId, state }) => `${streamId} ${state}`);
    return own.length > 1 ? [`${userId} has ${own.length} streams: ${own.join(', ')}`] : [];
  });
}

/** What an app heard last is what the relay says. */
export function truthOf(session: AppSessionView, streams: readonly StreamJson[]): Complaints {
  const { last, packageName, userId } = session;
  const mine = streams.find(
    (stream) => stream.userId === userId && !isOver(stream) && stream.viewers.includes(packageName),
  );
  const heard = last ? `${last.status} ${last.streamId ?? ''}`.trim() : 'nothing';
  const who = `${packageName} of ${userId}`;
  if (mine) {
    const word = managedStatusOf[mine.state as StreamState];
    const isTrue = last?.status === word && last.streamId === mine.streamId;
    return isTrue ? [] : [`${who} watches ${mine.streamId}, which is ${mine.state}, and heard ${heard} last`];
  }
  const believesIt = last !== undefined && !['stopped', 'error'].includes(last.status);
  return believesIt ? [`${who} watches nothing, and heard ${heard} last`] : [];
}

export async function truth({ apps, streams }: SoakWorld): Promise<Complaints> {
  const now = await streams();
  return apps.flatMap((app) =>
    app
      .sessions()
      .filter(({ isIn }) => isIn)
      .flatMap((session) => truthOf(session, now)),
  );
}

export async function glassesBack({ connected, glasses }: SoakWorld): Promise<Complaints> {
  const there = await connected();
  return glasses
    .filter(({ userId }) => !there.includes(userId))
    .map(({ userId }) => `the glasses of ${userId} are not there`);
}

/** No live input but those of streams; the ledger clears the others away in time. */
export async function inputsKnown({ stream, streams }: SoakWorld): Promise<Complaints> {
  // First the inputs: a stream that begins meanwhile is no complaint.
  const inputs = await stream.liveInputs();
  const known = JSON.stringify((await streams()).map(({ playback, urls }) => [playback, urls]));
  return inputs.filter((uid) => !known.includes(uid)).map((uid) => `live input ${uid} belongs to no stream`);
}

type StreamOfUser = Pick<StreamJson, 'streamId' | 'userId'>;

/** The newest that have ended are asked for as well. */
const EXPLAINED_AFTER = 10;

/** A story of every stream of those who are watched over. */
export async function explained({ relay, streams, glasses }: SoakWorld): Promise<Complaints> {
  const complaints: Complaints = [];
  const history = await relay.ask<{ streams: StreamOfUser[] }>('GET', '/api/streams/history');
  const isWatched = ({ userId }: StreamOfUser) => glasses.some((one) => one.userId === userId);
  const ended = history.streams.filter(isWatched).slice(0, EXPLAINED_AFTER);
  for (const { streamId } of [...(await streams()).filter(isWatched), ...ended]) {
    try {
      const { verdict } = await relay.ask<{ verdict?: unknown }>('GET', `/api/streams/${streamId}/explain`);
      if (verdict === undefined || verdict === '') complaints.push(`explain of ${streamId} gives no verdict`);
    } catch (error) {
      complaints.push(errorText(error));
    }
  }
  return complaints;
}

/** When everybody has left: no stream, no live input, no encoder. */
export async function quiet({ glasses, stream, streams }: SoakWorld): Promise<Complaints> {
  const running = (await streams()).map(({ streamId, state }) => `stream ${streamId} is ${state}`);
  const inputs = (await stream.liveInputs()).map((uid) => `live input ${uid} is left`);
  const encoders = await Promise.all(
    glasses.map(async (one) =>
      (await one.encoders()).map(({ pid, command }) => `${one.userId} still runs ${pid} ${command.slice(0, 80)}`),
    ),
  );
  return [...running, ...inputs, ...encoders.flat()];
}

export async function noOrphans(family: Pick<Family, 'orphans'>): Promise<Complaints> {
  return (await family.orphans()).map(
    ({ pid, command }) => `process ${pid} outlived its parent: ${command.slice(0, 120)}`,
  );
}

/** When all is closed. */
export async function nothingRuns(family: Family): Promise<Complaints> {
  const left = (await family.members()).map(({ pid, command }) => `process ${pid} is left: ${command.slice(0, 120)}`);
  return [...left, ...(await noOrphans(family))];
}

/** In session with an open socket, started when it is not. */
export async function appThere({ relay }: SoakWorld, app: SoakApp, userId: string): Promise<Complaints> {
  const session = app.session(userId);
  if (session?.isIn) return [];
  if (!session) await relay.startApp(app.packageName, userId);
  return app.session(userId)?.isIn ? [] : [`${app.packageName} of ${userId} is not in session`];
}

/** The request of `sinceMs` was refused for now, with the word to ask again. */
export function mustAskAgain(app: SoakApp, userId: string, sinceMs: number): boolean {
  const last = app.session(userId)?.last;
  return last !== undefined && last.atMs >= sinceMs && last.errorCode === 'START_UNHEARD';
}

/** Asked at `sinceMs`, is it live? Throws when it has failed. */
export function isLive(app: SoakApp, userId: string, sinceMs: number): boolean {
  const last = app.session(userId)?.last;
  if (!last || last.atMs < sinceMs) return false;
  if (last.status === 'error') throw new Error(`it failed: ${last.errorCode ?? ''} ${last.message ?? ''}`);
  return last.status === 'active';
}

/** Asked again until it holds; what is wrong still when the time is over. */
export async function eventually(
  clock: Clock,
  within: { ms: number; signal: AbortSignal; everyMs?: number },
  ask: () => Promise<Complaints> | Complaints,
): Promise<Complaints> {
  const deadlineMs = clock.monotonicMs() + within.ms;
  for (;;) {
    const complaints = await Promise.resolve()
      .then(ask)
      .catch((error: unknown) => [errorText(error)]);
    if (complaints.length === 0 || clock.monotonicMs() >= deadlineMs) return complaints;
    await clock.sleep(within.everyMs ?? 250, { signal: within.signal });
  }
}
