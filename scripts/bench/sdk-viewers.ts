/**
 * The real MentraOS SDK, unmodified, as an app of several users in a process of its own: its own patience, its own sockets.
 * Notes what it told the app; the program it runs is that of the tests.
 */
import { GlasscastError } from '../../shared/errors.ts';
import { createViewerNotes, type Viewer } from './crowd-app.ts';
import { freePort } from './free-port.ts';
import type { Bench } from './program.ts';
import { nodeArgs, plainEnv } from './stream-process.ts';

export interface SdkViewers {
  readonly packageName: string;
  readonly apiKey: string;
  readonly publicUrl: string;
  viewer(userId: string): Viewer;
  close(): Promise<void>;
}

interface Told {
  ready?: boolean;
  user?: string;
  event?: string;
  status?: { status?: string; streamId?: string; stats?: object; errorCode?: string };
  id?: number;
  value?: { streamId?: string } | null;
  error?: string;
}

const SDK_LINE = '2.1.29';
const START_TIMEOUT_MS = 30_000;
/** Proxies are for the outside only: its look for news at its maker's host ends at a closed port of ours. */
const offline = { HTTPS_PROXY: 'http://127.0.0.1:9', NO_PROXY: '127.0.0.1' };

export async function startSdkViewers(bench: Bench, packageName: string): Promise<SdkViewers> {
  const { clock } = bench;
  const apiKey = crypto.randomUUID();
  const port = await freePort();
  const notes = new Map<string, ReturnType<typeof createViewerNotes>>();
  const answers = new Map<number, (told: Told) => void>();
  let onReady = () => {};
  const ready = new Promise<void>((resolve) => {
    onReady = resolve;
  });
  const child = bench.spawn({
    ...{ name: 'sdk-app', file: process.execPath, env: plainEnv(offline), ipc: true, stopSignal: 'SIGKILL' },
    args: nodeArgs('test/support/sdk-app.ts', SDK_LINE, packageName, apiKey, String(port)),
    onMessage: (message) => take(message as Told),
  });
  function take(told: Told): void {
    if (told.ready) onReady();
    if (told.id !== undefined) answers.get(told.id)?.(told);
    const heard = notes.get(told.user ?? '');
    if (told.event === 'disconnected') heard?.add({ kind: 'lost' });
    // Of a new session and of one that came back.
    if (told.event === 'connected' || told.event === 'session') heard?.add({ kind: 'accepted' });
    if (told.event === 'managed-status') heard?.take({ type: 'managed_stream_status', ...told.status });
  }
  function call(user: string, name: string, ...args: unknown[]): Promise<Told> {
    const id = answers.size + 1;
    return new Promise((resolve) => {
      answers.set(id, resolve);
      child.send({ id, user, call: name, args });
    });
  }
  const died = child.exited.then(({ lastLines }): never => {
    throw new GlasscastError('CHILD_START_FAILED', {
      reason: `the SDK's app: ${lastLines.at(-1) ?? 'it said nothing'}`,
    });
  });
  died.catch(() => {});
  await Promise.race([ready, died]);

  return {
    ...{ packageName, apiKey, publicUrl: `http://127.0.0.1:${port}` },
    viewer(userId) {
      const heard = createViewerNotes(clock);
      notes.set(userId, heard);
      return {
        ...{ userId, packageName, events: heard.events },
        async live(settings) {
          const { value, error } = await call(userId, 'camera.startManagedStream', settings);
          if (value?.streamId) return value.streamId;
          throw new GlasscastError('INTERNAL', { reason: error ?? 'the SDK gave no stream' });
        },
        async stop() {
          const { error } = await call(userId, 'camera.stopManagedStream');
          if (error) throw new GlasscastError('INTERNAL', { reason: error });
        },
        async accepted() {
          await heard.next(
            ({ kind }) => kind === 'accepted',
            START_TIMEOUT_MS,
            `the SDK's app of ${userId} was not let in`,
          );
        },
      };
    },
    async close() {
      await child.stop();
    },
  };
}
