/**
 * A fleet of simulated glasses and their apps against one relay: comes, streams, suffers what a plan says, goes.
 * Owns every socket of both; never starts or ends the relay.
 */

import { createRandom } from '../../device/simulator/timeline.ts';
import type { Clock, Timer } from '../../shared/clock.ts';
import { createFleetApps, type FleetApps, type FleetPackage } from './fleet-apps.ts';
import { createFigureKeeper, type FigureKeeper, type FleetFigures } from './fleet-figures.ts';
import { drawStreaming, type FleetEvent, type FleetScenario } from './fleet-scenarios.ts';
import { createSimulatedGlasses, type MediaSource, type SimulatedGlasses } from './simulated-glasses.ts';
import { createWheelClock, type WheelClock } from './wheel-clock.ts';

export interface FleetRelay {
  /** ws://HOST:PORT/glasses-ws */
  glassesUrl: string;
  tokenOf(userId: string): string | Promise<string>;
  /** Undefined: a server that calls no webhooks; apps join by themselves at `appUrl`. */
  registerApp?: (app: FleetPackage) => Promise<void>;
  appUrl?: string;
}

export interface FleetOptions {
  clock: Clock;
  relay: FleetRelay;
  glasses: number;
  streams: number;
  /** Of the streams, those that push real media; they are managed ones. Default 0. */
  media?: number;
  mediaSource?: MediaSource | undefined;
  /** Default 3. */
  packages?: number;
  /** Of the streams, those whose app stays connected once they run. Default: all. */
  appsStay?: number;
  /** Where the relay reaches the apps' webhooks. Default 127.0.0.1. */
  appsHost?: string;
  seed: number;
}

export interface Fleet {
  /** Everybody, at the given rate; resolves when all are acknowledged, or half a minute after the last one. */
  connect(perSecond: number): Promise<void>;
  /** Resolves when every stream runs or has failed, or half a minute after the last answer. */
  startStreams(perSecond: number): Promise<void>;
  /** Statuses each second, spread over all that stream; 0 ends it. */
  flood(perSecond: number): void;
  /** Every connection of glasses at once. */
  cutAll(): void;
  /** Resolves when all glasses that are wanted are acknowledged; false: not within this time. */
  allBack(withinMs: number): Promise<boolean>;
  /** Battery, statuses and the events of the plan, for so long. Ends early when the signal is aborted. */
  live(scenario: FleetScenario, plan: readonly FleetEvent[], seconds: number): Promise<void>;
  stopStreams(): void;
  forgetStatuses(): void;
  readonly streaming: number;
  figures(): FleetFigures;
  /** Idempotent. */
  close(): Promise<void>;
}

const PATIENCE_MS = 30_000;
/** Streams that begin at the same time: more would only wait for each other. */
const MAX_STARTING = 100;
const TICK_MS = 100;
const FLOOD_TICK_MS = 10;
const PACE_BEHIND_MS = 100;

const userIdOf = (user: number): string => `glasses${String(user + 1).padStart(5, '0')}@fleet.example`;

export async function createFleet(options: FleetOptions, signal?: AbortSignal): Promise<Fleet> {
  const fleet = new WholeFleet(options, signal);
  await fleet.prepare();
  return fleet;
}

class WholeFleet implements Fleet {
  readonly #options: FleetOptions;
  readonly #signal: AbortSignal | undefined;
  readonly #clock: WheelClock;
  readonly #keeper: FigureKeeper = createFigureKeeper();
  readonly #glasses: SimulatedGlasses[];
  /** Users that stream, in the order in which they begin. */
  readonly #streaming: readonly number[];
  readonly #wishes: ReadonlyMap<string, 'managed' | 'unmanaged'>;
  readonly #away = new Set<number>();
  readonly #apps: FleetApps;
  #packages: FleetPackage[] = [];
  #answered = 0;
  #flooding: Timer | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: FleetOptions, signal: AbortSignal | undefined) {
    const { glasses, streams, seed, media = 0 } = options;
    this.#options = options;
    this.#signal = signal;
    this.#clock = createWheelClock(options.clock);
    this.#streaming = drawStreaming({ glasses, streams, seed, seconds: 0 });
    this.#wishes = new Map(
      this.#streaming.map((user, index) => [userIdOf(user), index < media ? 'managed' : 'unmanaged']),
    );
    this.#apps = createFleetApps({
      clock: this.#clock,
      figures: this.#keeper,
      packages: options.packages ?? 3,
      host: options.appsHost ?? '127.0.0.1',
      wanted: (userId) => this.#wishes.get(userId),
      onAnswer: (userId) => this.#onAnswer(userId),
    });
    this.#glasses = Array.from({ length: glasses }, (_, user) => this.#createGlasses(user));
  }

  async prepare(): Promise<void> {
    this.#packages = await this.#apps.start();
    for (const app of this.#packages) await this.#options.relay.registerApp?.(app);
  }

  get streaming(): number {
    return this.#glasses.filter(({ streamId }) => streamId !== undefined).length;
  }

  async connect(perSecond: number): Promise<void> {
    await this.#paced(this.#glasses.length, perSecond, (index) => void this.#glasses[index]?.connect());
    await this.#settled(() => this.#connected(), this.#glasses.length);
  }

  async startStreams(perSecond: number): Promise<void> {
    const isBusy = (begun: number) => begun - this.#answered >= MAX_STARTING;
    await this.#paced(this.#streaming.length, perSecond, (index) => this.#startStream(index), isBusy);
    await this.#settled(() => this.#answered, this.#streaming.length);
  }

  flood(perSecond: number): void {
    this.#flooding?.cancel();
    this.#flooding = undefined;
    if (perSecond <= 0) return;
    const tellers = this.#streaming.flatMap((user) => this.#glasses[user] ?? []);
    const sinceMs = this.#clock.monotonicMs();
    let due = 0;
    let next = 0;
    // On the exact clock: a wheel's ticks would send in bursts.
    this.#flooding = this.#options.clock.every('flood', FLOOD_TICK_MS, () => {
      const total = ((this.#clock.monotonicMs() - sinceMs) / 1000) * perSecond;
      for (; due < total; due += 1) {
        if (tellers[next % tellers.length]?.tellStats()) this.#keeper.count.sent += 1;
        next += 1;
      }
    });
  }

  cutAll(): void {
    for (const one of this.#glasses) one.cut();
  }

  async allBack(withinMs: number): Promise<boolean> {
    const untilMs = this.#clock.monotonicMs() + withinMs;
    const wanted = () => this.#glasses.length - this.#away.size;
    while (this.#connected() < wanted()) {
      if (this.#clock.monotonicMs() > untilMs || this.#signal?.aborted) return false;
      await this.#clock.sleep(TICK_MS);
    }
    return true;
  }

  async live(scenario: FleetScenario, plan: readonly FleetEvent[], seconds: number): Promise<void> {
    const beganMs = this.#clock.monotonicMs();
    const timers = plan.map((event) => this.#clock.after(event.kind, event.atMs, () => this.#happen(event)));
    const { batteryEveryS } = scenario;
    if (batteryEveryS > 0) timers.push(...this.#batteries(batteryEveryS * 1000));
    this.flood(scenario.statusesPerSecond);
    while (this.#clock.monotonicMs() - beganMs < seconds * 1000 && !this.#signal?.aborted) {
      await this.#clock.sleep(TICK_MS);
    }
    this.flood(0);
    for (const timer of timers) timer.cancel();
    // Who would have come back later comes now, to be counted.
    for (const user of [...this.#away]) this.#return(user);
  }

  stopStreams(): void {
    for (const userId of this.#wishes.keys()) this.#apps.stopStream(userId);
  }

  forgetStatuses(): void {
    this.#keeper.forgetStatuses();
  }

  figures(): FleetFigures {
    const glasses = this.#glasses.length;
    return this.#keeper.figures({ glasses, connected: this.#connected(), appsConnected: this.#apps.connected });
  }

  async close(): Promise<void> {
    this.#closing ??= this.#close();
    await this.#closing;
  }

  async #close(): Promise<void> {
    this.flood(0);
    for (const one of this.#glasses) one.close();
    await this.#apps.close();
    this.#clock.close();
  }

  #createGlasses(user: number): SimulatedGlasses {
    const { relay, media = 0, mediaSource, seed } = this.#options;
    const userId = userIdOf(user);
    const hasMedia = this.#streaming.slice(0, media).includes(user);
    return createSimulatedGlasses({
      userId,
      url: relay.glassesUrl,
      token: () => relay.tokenOf(userId),
      clock: this.#clock,
      random: createRandom(seed, 100 + user),
      figures: this.#keeper,
      onStart: (started) => this.#onStart(started),
      ...(hasMedia ? { media: mediaSource } : {}),
    });
  }

  #startStream(index: number): void {
    const user = this.#streaming[index];
    if (user === undefined) return;
    const { appUrl } = this.#options.relay;
    const app = this.#packages[user % this.#packages.length];
    if (!app) return;
    const { packageName, apiKey } = app;
    const userId = userIdOf(user);
    if (appUrl === undefined) this.#glasses[user]?.startApp(packageName);
    else this.#apps.join({ userId, packageName, apiKey, sessionId: userId, url: appUrl });
  }

  #onStart(userId: string): void {
    this.#apps.started(userId);
  }

  #onAnswer(userId: string): void {
    this.#answered += 1;
    const { appsStay = Number.POSITIVE_INFINITY } = this.#options;
    if (this.#answered > appsStay) this.#apps.abandon(userId);
  }

  #happen(event: FleetEvent): void {
    switch (event.kind) {
      case 'cut-all':
        this.cutAll();
        return;
      case 'cut-glasses':
        this.#glasses[event.user]?.cut();
        return;
      case 'cut-app':
        this.#apps.cut(userIdOf(event.user));
        return;
      case 'leave':
        this.#away.add(event.user);
        this.#glasses[event.user]?.leave();
        return;
      case 'return':
        this.#return(event.user);
        return;
      default:
        event satisfies never;
    }
  }

  #return(user: number): void {
    if (!this.#away.delete(user)) return;
    void this.#glasses[user]?.connect();
  }

  /** One timer for all: each tick some of them tell. */
  #batteries(everyMs: number): Timer[] {
    let told = 0;
    const beganMs = this.#clock.monotonicMs();
    return [
      this.#clock.every('batteries', TICK_MS, () => {
        const due = ((this.#clock.monotonicMs() - beganMs) / everyMs) * this.#glasses.length;
        for (; told < due; told += 1) {
          const percent = 100 - (Math.floor(told / this.#glasses.length) % 100);
          this.#glasses[told % this.#glasses.length]?.battery(percent);
        }
      }),
    ];
  }

  #connected(): number {
    return this.#glasses.filter(({ isConnected }) => isConnected).length;
  }

  /** @param isBusy so many have begun that the next one waits, for half a minute at most. */
  async #paced(
    count: number,
    perSecond: number,
    act: (index: number) => void,
    isBusy: (begun: number) => boolean = () => false,
  ): Promise<void> {
    const gapMs = 1000 / perSecond;
    let dueMs = this.#clock.monotonicMs();
    let movedMs = dueMs;
    for (let done = 0; done < count && !this.#signal?.aborted; ) {
      const nowMs = this.#clock.monotonicMs();
      const isStuck = nowMs - movedMs > PATIENCE_MS;
      while (done < count && dueMs <= nowMs && (isStuck || !isBusy(done))) {
        act(done);
        done += 1;
        dueMs += gapMs;
        movedMs = nowMs;
      }
      // What was held back is not made up for in a burst.
      dueMs = Math.max(dueMs, nowMs - PACE_BEHIND_MS);
      await this.#clock.sleep(FLOOD_TICK_MS);
    }
  }

  /** Until it reaches the number, or stands still. */
  async #settled(value: () => number, wanted: number): Promise<void> {
    let best = value();
    let movedMs = this.#clock.monotonicMs();
    while (value() < wanted && !this.#signal?.aborted && this.#clock.monotonicMs() - movedMs < PATIENCE_MS) {
      await this.#clock.sleep(TICK_MS);
      if (value() <= best) continue;
      best = value();
      movedMs = this.#clock.monotonicMs();
    }
  }
}
