/**
 * People with glasses that push no media, as quick as the relay lets them be: they come, are watched, lose their lines, leave.
 * Before memory is measured they fill what the product keeps up to a bound, and have V8 compile what is often called; in
 * storms they bring volume. Judges nothing: what is refused is another turn.
 */

import type { Bench } from '../bench/program.ts';
import type { RelayMain } from '../bench/relay-main.ts';
import { createFigureKeeper } from '../fleet/fleet-figures.ts';
import { createSimulatedGlasses, type SimulatedGlasses } from '../fleet/simulated-glasses.ts';
import { smallStream } from './churn.ts';
import { type Complaints, eventually } from './invariants.ts';
import type { SoakApp } from './soak-apps.ts';

export interface CrowdOptions {
  bench: Pick<Bench, 'clock' | 'redactor' | 'signal'>;
  relay: () => Pick<RelayMain, 'ask' | 'url'>;
  apps: readonly SoakApp[];
  /** How many are there at a time. */
  people: number;
  /** All together; then everybody leaves. */
  streams: number;
  /** Everybody leaves then, too. */
  until: AbortSignal;
}

const STEP_WITHIN_MS = 5_000;
const REFUSED_MS = 500;
/** Then somebody else comes. */
const STREAMS_A_VISIT = 25;

/** Gives how many streams there were, when everybody has left. */
export async function crowd({ bench, relay, apps, people, streams, until }: CrowdOptions): Promise<number> {
  const { clock, redactor, signal } = bench;
  const held = { streams: 0, visits: 0 };
  const who = crypto.randomUUID().slice(0, 8);
  const isOver = () => until.aborted || signal.aborted || held.streams >= streams;
  const hold = (ask: () => Promise<Complaints> | Complaints) =>
    eventually(clock, { ms: STEP_WITHIN_MS, signal, everyMs: 40 }, () => (isOver() ? [] : ask()));

  async function watched(app: SoakApp, glasses: SimulatedGlasses, turn: number): Promise<void> {
    const { userId } = glasses;
    if (!app.session(userId)?.isIn) {
      await relay().ask('POST', `/api/apps/${app.packageName}/start`, { userId });
      await hold(() => (app.session(userId)?.isIn ? [] : ['not in session']));
    }
    app.watch(userId, smallStream);
    await hold(() => (glasses.streamId === undefined ? ['no START'] : []));
    const { streamId } = glasses;
    glasses.tellStats();
    glasses.battery(turn % 100);
    // Somebody looks at it; a line is lost now and then.
    if (turn % 3 === 0) await relay().ask('GET', '/api/streams');
    if (turn % 3 === 1 && streamId) await relay().ask('GET', `/api/streams/${streamId}/explain`);
    if (turn % 3 === 2) await relay().ask('GET', '/api/sessions');
    if (turn % 5 === 0) {
      glasses.cut();
      await hold(() => (glasses.isConnected ? [] : ['away']));
    }
    if (turn % 7 === 0) {
      app.cut(userId);
      await hold(() => (app.session(userId)?.isIn ? [] : ['away']));
    }
    const askedMs = clock.monotonicMs();
    app.unwatch(userId);
    await hold(() => ((app.session(userId)?.last?.atMs ?? 0) < askedMs || glasses.streamId ? ['not over'] : []));
    if (turn % 4 === 0) app.leave(userId);
  }
  async function visit(): Promise<void> {
    held.visits += 1;
    const userId = `quick${held.visits}-${who}@soak.example`;
    const { ask, url } = relay();
    const issued = await ask<{ tokenId: string; coreToken: string }>('POST', '/api/tokens', { email: userId });
    redactor.add(issued.coreToken);
    const glasses = createSimulatedGlasses({
      ...{ userId, url: `${url.replace(/^http/, 'ws')}/glasses-ws`, token: () => issued.coreToken, clock },
      ...{ random: Math.random, figures: createFigureKeeper(), onStart: () => {} },
    });
    try {
      void glasses.connect();
      await hold(() => (glasses.isConnected ? [] : ['away']));
      for (let turn = 1; turn <= STREAMS_A_VISIT && !isOver(); turn += 1) {
        held.streams += 1;
        const app = apps[held.streams % apps.length];
        if (app) await watched(app, glasses, held.streams);
      }
    } finally {
      for (const app of apps) app.leave(userId);
      glasses.close();
      // Which ends the session at once.
      await gone(issued.tokenId);
    }
  }
  /** Also when the relay is away just then, so that nobody is left. */
  async function gone(tokenId: string): Promise<void> {
    await eventually(clock, { ms: STEP_WITHIN_MS, signal }, async () => {
      await relay().ask('DELETE', `/api/tokens/${tokenId}`);
      return [];
    }).catch(() => undefined);
  }
  async function person(): Promise<void> {
    while (!isOver()) {
      try {
        await visit();
      } catch {
        await clock.sleep(REFUSED_MS, { signal }).catch(() => undefined);
      }
    }
  }
  await Promise.all(Array.from({ length: people }, person));
  return held.streams;
}
