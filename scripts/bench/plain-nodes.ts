/**
 * The peer of a cluster: two bare `ws` servers behind the same HAProxy, one killed. As soon as clients with the same patience hear
 * something again, nothing about a stream being kept.
 */
import { WebSocket } from 'ws';
import { eagerness, sdkPatience } from './crowd-app.ts';
import { freePort } from './free-port.ts';
import { startHaproxy } from './haproxy-process.ts';
import { untilListening } from './listening.ts';
import type { Bench } from './program.ts';
import { servedAgainMs, type ViewerEvent } from './served.ts';
import { nodeArgs, plainEnv } from './stream-process.ts';

const CADENCE_MS = 500;
const SETTLE_MS = 3_000;

/** Of each client: milliseconds from the kill until it heard something again. */
export async function plainNodesKilled(
  bench: Bench,
  clients: number,
  windowMs: number,
): Promise<(number | undefined)[]> {
  const { spawn, clock, signal } = bench;
  const nodePorts = [await freePort(), await freePort()] as const;
  const servers = nodePorts.map((port) =>
    spawn({
      ...{ name: 'plain-ws', file: process.execPath, env: plainEnv() },
      args: nodeArgs('scripts/bench/plain-ws-program.ts', String(port)),
    }),
  );
  for (const [index, server] of servers.entries())
    await untilListening(clock, server, 'plain-ws', nodePorts[index] ?? 0);
  const port = await freePort();
  const haproxy = await startHaproxy({ spawn, clock, port, nodePorts });
  const open = Array.from({ length: clients }, (_, index) => {
    return plainClient(bench, `ws://127.0.0.1:${port}/`, index % 2 === 0 ? eagerness : sdkPatience);
  });
  try {
    await clock.sleep(SETTLE_MS, { signal });
    const sinceMs = clock.monotonicMs();
    servers[0]?.kill();
    await clock.sleep(windowMs, { signal });
    const window = { sinceMs, untilMs: clock.monotonicMs(), cadenceMs: CADENCE_MS };
    return open.filter(({ wasCut }) => wasCut()).map(({ events }) => servedAgainMs(events, window));
  } finally {
    for (const client of open) client.close();
    await haproxy.stop();
    await Promise.all(servers.map((server) => server.stop()));
  }
}

function plainClient({ clock }: Bench, url: string, retryMs: (attempt: number) => number | undefined) {
  const events: ViewerEvent[] = [];
  const add = (kind: ViewerEvent['kind']) => void events.push({ kind, atMs: clock.monotonicMs() });
  let isOver = false;
  let socket: WebSocket | undefined;
  function open(attempt: number): void {
    if (isOver) return;
    const opening = new WebSocket(url, { perMessageDeflate: false });
    let wasOpen = false;
    socket = opening;
    opening.on('error', () => {});
    opening.on('open', () => {
      wasOpen = true;
      add('accepted');
    });
    opening.on('message', () => add('device'));
    opening.on('close', () => {
      if (wasOpen) add('lost');
      const next = wasOpen ? 1 : attempt + 1;
      const waitMs = retryMs(next);
      if (waitMs !== undefined) clock.after('plain-retry', waitMs, () => open(next));
    });
  }
  open(0);
  return {
    events,
    wasCut: () => events.some(({ kind }) => kind === 'lost'),
    close() {
      isOver = true;
      socket?.terminate();
    },
  };
}
