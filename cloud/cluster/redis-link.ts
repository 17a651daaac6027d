/**
 * The one connection to Redis. It comes back by itself within a quarter of a second, and while it is away every command
 * fails at once: nothing is queued, because what was asked for a moment ago may be wrong when Redis is back.
 */
import { Redis } from 'ioredis';
import type { Clock, Timer } from '../../shared/clock.ts';
import { errorText, GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { redactUrlsIn, type Secret } from '../../shared/secrets.ts';

export interface RedisLinkOptions {
  /** `redis://` or `rediss://` (TLS), with user and password when Redis wants them, and maybe `/DATABASE`. */
  url: Secret;
  clock: Clock;
  log: Log;
  /** Without any answer for so long, while commands wait, Redis counts as away. Default 1000. */
  silenceMs?: number;
  /** Between two attempts to connect. Default 200. */
  reconnectMs?: number;
}

/** Answers as Redis gives them: strings, numbers, null and lists of these. */
export type RedisScript = (keys: readonly string[], args: readonly (string | number)[]) => Promise<unknown>;

export interface RedisLink {
  /** It answered the last time that it was asked. */
  readonly isUp: boolean;
  /** Why it is away, in the words of the last failure; undefined while it is up. */
  readonly trouble: string | undefined;
  /**
   * @throws GlasscastError STORE_UNAVAILABLE, also when Redis refuses; without its words, which callers of all kinds would
   * hear and which may hold an address or a value. What it did is unknown when it was silent.
   */
  command(name: string, ...args: (string | number)[]): Promise<unknown>;
  /** A Lua script, by a name of its own, sent whole once and by its hash from then on. Fails as `command` does. */
  script(name: string, lua: string): RedisScript;
  /** Called each time that Redis is back, the first time too. Returns the way to stop listening. */
  onUp(take: () => void): () => void;
  onDown(take: () => void): () => void;
  /** Once it is up. @throws GlasscastError STORE_UNAVAILABLE with the reason when it is not within `timeoutMs`. */
  ready(timeoutMs: number): Promise<void>;
  close(): Promise<void>;
}

/** @throws GlasscastError INVALID_CONFIG when the URL is none of Redis */
export function createRedisLink(options: RedisLinkOptions): RedisLink {
  return new Link(options);
}

/** On their way at once; more wait here, so that thousands in one moment do not look like a Redis that is late. */
const MAX_IN_FLIGHT = 500;
const MAX_WAITING = 100_000;
/** Looks in one silence: a process that stands still itself looks only once for all that time. */
const LOOKS = 4;
/** While a connection is made. */
const HANDSHAKE_TIMEOUT_MS = 5_000;

type Scripts = Record<string, (...args: (string | number)[]) => Promise<unknown>>;

class Link implements RedisLink {
  readonly #options: RedisLinkOptions;
  readonly #redis: Redis;
  readonly #up = new Set<() => void>();
  readonly #down = new Set<() => void>();
  readonly #waiting = new Set<() => void>();
  #inFlight = 0;
  #answers = 0;
  #silentLooks = 0;
  #watch: Timer | undefined;
  #isUp = false;
  #isClosed = false;
  #trouble: string | undefined = 'not connected yet';
  #refusal = '';
  /** The connection before, and the life of Redis that it belongs to: what it still holds is not to be done any more. */
  #before: { runId: string; clientId: string } | undefined;

  constructor(options: RedisLinkOptions) {
    this.#options = options;
    const { url, reconnectMs = 200 } = options;
    const isFit = URL.canParse(url.reveal()) && /^rediss?:$/.test(new URL(url.reveal()).protocol);
    // Without the URL: it may hold a password.
    if (!isFit)
      throw new GlasscastError('INVALID_CONFIG', { reason: 'a Redis URL is redis://HOST:PORT or rediss://…' });
    this.#redis = new Redis(url.reveal(), {
      protocol: 2,
      disableClientInfo: true,
      connectionName: 'glasscast',
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      commandTimeout: HANDSHAKE_TIMEOUT_MS,
      connectTimeout: 2_000,
      maxLoadingRetryTime: 200,
      // A Redis that hangs answers no goodbye.
      disconnectTimeout: 50,
      retryStrategy: () => reconnectMs,
      // A replica after a failover: the name leads to the new primary.
      reconnectOnError: ({ message }) => message.startsWith('READONLY'),
    });
    this.#redis.on('error', (error) => this.#onTrouble(error));
    this.#redis.on('close', () => this.#onClose());
    this.#redis.on('ready', () => void this.#onReady());
  }

  get isUp(): boolean {
    return this.#isUp;
  }

  get trouble(): string | undefined {
    return this.#isUp ? undefined : this.#trouble;
  }

  command(name: string, ...args: (string | number)[]): Promise<unknown> {
    return this.#ask(() => this.#redis.call(name, args));
  }

  script(name: string, lua: string): RedisScript {
    this.#redis.defineCommand(name, { lua });
    const scripts = this.#redis as unknown as Scripts;
    return (keys, args) => this.#ask(() => scripts[name]?.(keys.length, ...keys, ...args) ?? Promise.resolve());
  }

  onUp(take: () => void): () => void {
    this.#up.add(take);
    return () => void this.#up.delete(take);
  }

  onDown(take: () => void): () => void {
    this.#down.add(take);
    return () => void this.#down.delete(take);
  }

  async ready(timeoutMs: number): Promise<void> {
    const { clock } = this.#options;
    const untilMs = clock.monotonicMs() + timeoutMs;
    while (!this.#isUp) {
      if (this.#isClosed || clock.monotonicMs() >= untilMs) {
        throw unavailable(this.#trouble && `Redis: ${redactUrlsIn(this.#trouble)}`);
      }
      await clock.sleep(20, { name: 'redis-ready' });
    }
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const ended = new Promise<void>((resolve) => {
      if (this.#redis.status === 'end') resolve();
      else this.#redis.once('end', () => resolve());
    });
    const wasWaiting = this.#redis.status === 'reconnecting';
    this.#redis.disconnect();
    // Between two attempts there is no connection whose end could be told.
    if (!wasWaiting) await ended;
    this.#onClose();
  }

  async #ask(ask: () => Promise<unknown>): Promise<unknown> {
    if (!this.#isUp || this.#waiting.size >= MAX_WAITING) throw unavailable();
    if (this.#inFlight >= MAX_IN_FLIGHT) {
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
      if (!this.#isUp) throw unavailable();
    }
    this.#inFlight += 1;
    this.#watch ??= this.#look();
    try {
      return await ask();
    } catch (thrown) {
      // Not as its cause: ioredis hangs the command on it, with values that are secrets.
      this.#onRefused(thrown);
      throw unavailable();
    } finally {
      this.#answers += 1;
      this.#inFlight -= 1;
      this.#wake(1);
    }
  }

  /** The first that wait. */
  #wake(count: number): void {
    let left = count;
    for (const wake of this.#waiting) {
      if (left === 0) return;
      left -= 1;
      this.#waiting.delete(wake);
      wake();
    }
  }

  /** Again and again while something is on its way. */
  #look(): Timer {
    const { clock, silenceMs = 1_000 } = this.#options;
    const answersBefore = this.#answers;
    return clock.after('redis-watch', silenceMs / LOOKS, () => {
      this.#silentLooks = this.#answers === answersBefore ? this.#silentLooks + 1 : 0;
      this.#watch = undefined;
      if (this.#silentLooks >= LOOKS) this.#onHung();
      else if (this.#inFlight > 0) this.#watch = this.#look();
      else this.#silentLooks = 0;
    });
  }

  /** Said once of each kind: it may befall every command (a full disk, a command that is not allowed). */
  #onRefused(thrown: unknown): void {
    // What follows may be what was to be written.
    const refusal = redactUrlsIn(errorText(thrown).split(/, with args|, args/)[0] ?? '').slice(0, 200);
    if (!this.#isUp || refusal === this.#refusal) return;
    this.#refusal = refusal;
    this.#options.log.warn({ reason: refusal }, 'redis-refused');
  }

  /** It keeps its connections open and answers nothing: no command is to wait for that again. */
  #onHung(): void {
    if (!this.#isUp) return;
    this.#onTrouble(new Error('no answer in time'));
    this.#onClose();
    this.#redis.disconnect(true);
  }

  #onTrouble(error: Error): void {
    this.#trouble = errorText(error);
    this.#options.log.debug({ reason: redactUrlsIn(this.#trouble) }, 'redis-trouble');
  }

  async #onReady(): Promise<void> {
    try {
      await this.#endBefore();
    } catch {
      // Not every Redis lets its users do that, and nothing else depends on it.
    } finally {
      if (this.#redis.status === 'ready' && !this.#isUp && !this.#isClosed) {
        this.#isUp = true;
        this.#trouble = undefined;
        this.#options.log.info({}, 'redis-up');
        for (const take of [...this.#up]) take();
      }
    }
  }

  /** After a restart of Redis the number may be another node's. */
  async #endBefore(): Promise<void> {
    const before = this.#before;
    const runId = /^run_id:(\w+)/m.exec(String(await this.#redis.call('INFO', 'server')))?.[1] ?? '';
    this.#before = { runId, clientId: String(await this.#redis.call('CLIENT', 'ID')) };
    if (before && before.runId === runId) await this.#redis.call('CLIENT', 'KILL', 'ID', before.clientId);
  }

  #onClose(): void {
    if (!this.#isUp) return;
    this.#isUp = false;
    this.#watch?.cancel();
    this.#watch = undefined;
    this.#silentLooks = 0;
    this.#wake(this.#waiting.size);
    if (!this.#isClosed) {
      this.#trouble ??= 'the connection was closed';
      this.#options.log.warn({ reason: redactUrlsIn(this.#trouble) }, 'redis-down');
    }
    for (const take of [...this.#down]) take();
  }
}

function unavailable(reason?: string): GlasscastError {
  return new GlasscastError('STORE_UNAVAILABLE', { reason });
}
