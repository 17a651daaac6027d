/**
 * Fills what the product keeps up to a bound, before its memory is measured: hundreds of streams without media, one after
 * the other, by glasses and apps that come for it and leave again. Judges nothing.
 */

import type { Bench } from '../bench/program.ts';
import type { RelayMain } from '../bench/relay-main.ts';
import { createFigureKeeper } from '../fleet/fleet-figures.ts';
import { createSimulatedGlasses, type SimulatedGlasses } from '../fleet/simulated-glasses.ts';
import { smallStream } from './churn.ts';
import { type Complaints, eventually } from './invariants.ts';
import type { SoakApp } from './soak-apps.ts';

/** The relay remembers 500 streams that have ended (story-archive.ts), and 50 of them whole; then V8 compiles what is often called. */
export const FILL_STREAMS = 1_000;
const USERS = 8;
/** A machine that is too slow for all of them measures what it has. */
const FILL_WITHIN_MS = 180_000;
const STEP_WITHIN_MS = 5_000;
/** Of an app's session, now and then, so that sessions end as well. */
const LEAVE_EACH = 4;

export interface FillingOptions {
  bench: Pick<Bench, 'clock' | 'redactor' | 'signal'>;
  relay: Pick<RelayMain, 'ask' | 'url'>;
  apps: readonly SoakApp[];
}

/** Gives how many streams there were. */
export async function fillUp({ bench, relay, apps }: FillingOptions): Promise<number> {
  const { clock, redactor, signal } = bench;
  const deadlineMs = clock.monotonicMs() + FILL_WITHIN_MS;
  let streams = 0;
  const hold = (ask: () => Promise<Complaints> | Complaints) =>
    eventually(clock, { ms: STEP_WITHIN_MS, signal, everyMs: 40 }, ask);

  async function one(app: SoakApp, glasses: SimulatedGlasses): Promise<void> {
    const { userId } = glasses;
    if (!app.session(userId)?.isIn) {
      await relay.ask('POST', `/api/apps/${app.packageName}/start`, { userId }).catch(() => undefined);
      await hold(() => (app.session(userId)?.isIn ? [] : ['not in session']));
    }
    app.watch(userId, smallStream);
    await hold(() => (glasses.streamId === undefined ? ['no START'] : []));
    const askedMs = clock.monotonicMs();
    app.unwatch(userId);
    await hold(() => ((app.session(userId)?.last?.atMs ?? 0) < askedMs || glasses.streamId ? ['not over'] : []));
  }
  async function many(glasses: SimulatedGlasses): Promise<void> {
    while (streams < FILL_STREAMS && clock.monotonicMs() < deadlineMs) {
      signal.throwIfAborted();
      streams += 1;
      const turn = streams;
      const app = apps[turn % apps.length];
      if (!app) return;
      await one(app, glasses);
      if (turn % LEAVE_EACH === 0) app.leave(glasses.userId);
    }
  }
  async function visit(number: number): Promise<void> {
    const userId = `quick${number}@soak.example`;
    const issued = await relay.ask<{ tokenId: string; coreToken: string }>('POST', '/api/tokens', { email: userId });
    redactor.add(issued.coreToken);
    const glasses = createSimulatedGlasses({
      ...{ userId, url: `${relay.url.replace(/^http/, 'ws')}/glasses-ws`, token: () => issued.coreToken, clock },
      ...{ random: Math.random, figures: createFigureKeeper(), onStart: () => {} },
    });
    try {
      await glasses.connect();
      await many(glasses);
    } finally {
      for (const app of apps) app.leave(userId);
      glasses.close();
      // Which ends the session at once.
      await relay.ask('DELETE', `/api/tokens/${issued.tokenId}`).catch(() => undefined);
    }
  }
  await Promise.all(Array.from({ length: USERS }, (_, number) => visit(number + 1)));
  return streams;
}
