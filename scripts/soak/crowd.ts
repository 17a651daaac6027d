/**
 * People with glasses that push no media, as quick as the relay lets them be: they come, are watched, lose their lines, leave.
 * Before memory is measured they fill what the product keeps up to a bound, and have V8 compile what is often called; in
 * storms they bring volume. Judges nothing: what is refused is counted.
 */

import type { Bench } from '../bench/program.ts';
import type { RelayMain } from '../bench/relay-main.ts';
import { createFigureKeeper } from '../fleet/fleet-figures.ts';
import { createSimulatedGlasses, type SimulatedGlasses } from '../fleet/simulated-glasses.ts';
import { smallStream } from './churn.ts';
import { eventually } from './invariants.ts';
import type { SoakApp } from './soak-apps.ts';

/** The same people each time: what the relay remembers of a user, a token or a revoked one must not grow by the measuring. */
export interface Crowd {
  /** Resolves when everybody has left again. Never rejects. */
  come(visit: Visit): Promise<CrowdCounts>;
}

export interface Visit {
  relay: () => Pick<RelayMain, 'ask' | 'coreToken' | 'url'>;
  /** How many are there at a time. */
  people: number;
  /** All together; then everybody leaves. */
  streams: number;
  /** Everybody leaves then, too. */
  until: AbortSignal;
}

export interface CrowdCounts {
  /** START came to the glasses. */
  streams: number;
  /** Or something else was not to be had in time. */
  refused: number;
}

const STEP_WITHIN_MS = 5_000;
const REFUSED_MS = 500;
/** Then they leave, and come back. */
const STREAMS_A_VISIT = 25;

export function createCrowd({
  bench,
  apps,
}: {
  bench: Pick<Bench, 'clock' | 'signal'>;
  apps: readonly SoakApp[];
}): Crowd {
  const { clock, signal } = bench;
  const name = crypto.randomUUID().slice(0, 8);
  const tokens = new Map<string, string>();
  const turns = { taken: 0 };

  async function tokenOf(userId: string, { relay }: Visit): Promise<string> {
    const known = tokens.get(userId);
    if (known !== undefined) return known;
    const coreToken = (await relay().coreToken(userId)).reveal();
    tokens.set(userId, coreToken);
    return coreToken;
  }
  async function person(userId: string, visit: Visit, counts: CrowdCounts): Promise<void> {
    const isOver = () => visit.until.aborted || signal.aborted || counts.streams >= visit.streams;
    /** @throws when it does not come about */
    async function hold(ask: () => boolean | Promise<boolean>): Promise<void> {
      const holds = async () => (isOver() || (await ask()) ? [] : ['not yet']);
      const complaints = await eventually(clock, { ms: STEP_WITHIN_MS, signal, everyMs: 40 }, holds);
      if (complaints.length > 0) throw new Error('not in time');
    }
    async function watched(app: SoakApp, glasses: SimulatedGlasses, turn: number): Promise<void> {
      const { ask } = visit.relay();
      const isIn = () => app.session(userId)?.isIn ?? false;
      await hold(async () => {
        // One that has just left may run still, for the relay: asked again once it does not.
        if (!app.session(userId)) await ask('POST', `/api/apps/${app.packageName}/start`, { userId });
        return isIn();
      });
      app.watch(userId, smallStream);
      await hold(() => glasses.streamId !== undefined);
      const { streamId } = glasses;
      if (streamId === undefined) return;
      counts.streams += 1;
      glasses.tellStats();
      glasses.battery(turn % 100);
      // Somebody looks at it; a line is lost now and then.
      const looks = ['/api/streams', `/api/streams/${streamId}/explain`, '/api/sessions'];
      await ask('GET', looks[turn % looks.length] ?? '');
      if (turn % 5 === 0) {
        glasses.cut();
        await hold(() => glasses.isConnected);
      }
      if (turn % 7 === 0) {
        app.cut(userId);
        await hold(isIn);
      }
      const askedMs = clock.monotonicMs();
      app.unwatch(userId);
      await hold(() => (app.session(userId)?.last?.atMs ?? 0) >= askedMs && glasses.streamId === undefined);
      if (turn % 3 === 0) app.leave(userId);
    }
    while (!isOver()) {
      let glasses: SimulatedGlasses | undefined;
      try {
        const coreToken = await tokenOf(userId, visit);
        glasses = createSimulatedGlasses({
          ...{ userId, url: `${visit.relay().url.replace(/^http/, 'ws')}/glasses-ws`, token: () => coreToken, clock },
          ...{ random: Math.random, figures: createFigureKeeper(), onStart: () => {} },
        });
        const there = glasses;
        void there.connect();
        await hold(() => there.isConnected);
        for (let stream = 0; stream < STREAMS_A_VISIT && !isOver(); stream += 1) {
          turns.taken += 1;
          const app = apps[turns.taken % apps.length];
          if (app) await watched(app, there, turns.taken);
        }
      } catch {
        counts.refused += 1;
        await clock.sleep(REFUSED_MS, { signal }).catch(() => undefined);
      } finally {
        for (const app of apps) {
          app.unwatch(userId);
          app.leave(userId);
        }
        glasses?.close();
      }
    }
  }
  return {
    async come(visit) {
      const counts: CrowdCounts = { streams: 0, refused: 0 };
      const names = Array.from({ length: visit.people }, (_, index) => `quick${index + 1}-${name}@soak.example`);
      await Promise.all(names.map((userId) => person(userId, visit, counts)));
      return counts;
    },
  };
}
