/**
 * The light that tells bystanders: lit before the first capture begins, out after the last one ended, by a keeper process
 * that outlives us. Counts who holds it and stops them when it fails; never captures, never touches the LED itself.
 */
import type { Child, SpawnChild } from '../../shared/child-process.ts';
import { type Clock, type Timer, withTimeout } from '../../shared/clock.ts';
import { errorText, GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { keeperCommand, type PrivacyLightDriver } from './light-keeper.ts';

export interface PrivacyLightOptions {
  /** Undefined: there is none; holding then costs nothing and always succeeds. */
  light: PrivacyLightDriver | undefined;
  /** Without light no capture. Default true. */
  isRequired?: boolean;
  spawn: SpawnChild;
  clock: Clock;
  log: Log;
  /** Default `/sys`. */
  sysRoot?: string;
}

/** Called at most once per hold, when the light went out and did not come back: the capture has to end at once. */
export type OnLightOut = (cause: GlasscastError) => void;

export interface PrivacyLight {
  /**
   * Resolves when the light is proven lit (or not required): only then may a capture begin. The result releases; it may be
   * called again, and resolves when the light is out, if nobody else holds it.
   * @throws GlasscastError PRIVACY_LIGHT_FAILED when it is required and cannot be lit; SHUTTING_DOWN after `close`.
   */
  hold(onOut: OnLightOut): Promise<() => Promise<void>>;
  /** As last proven. */
  readonly isLit: boolean;
  /** Tells who still holds it (SHUTTING_DOWN), waits a little for them to release, puts it out. Idempotent. */
  close(): Promise<void>;
}

const CHECK_EVERY_MS = 1_000;
const ANSWER_TIMEOUT_MS = 2_000;
/** A first answer takes a shell's start, which is seconds on a slow and busy board. Nothing is captured yet... */
const FIRST_ANSWER_TIMEOUT_MS = 8_000;
/** ...or something is, in what may be the dark. */
const RELIT_TIMEOUT_MS = 4_000;
/** A light that has to be lit again within this time is not ours any more. */
const STEADY_MS = 60_000;
const PUT_OUT_ATTEMPTS = 3;
/** For those who hold it at `close` to end their captures. */
const CLOSE_PATIENCE_MS = 2_000;

interface Holder {
  /** Between the proof of light and the news of its loss. */
  onOut: OnLightOut | undefined;
}

export function createPrivacyLight(options: PrivacyLightOptions): PrivacyLight {
  const { light, isRequired = true, clock, log } = options;
  const holders = new Set<Holder>();
  let onAllReleased = () => {};
  let keeper: Keeper | undefined;
  let isLit = false;
  let checking: Timer | undefined;
  let relitMs: number | undefined;
  let closing: Promise<void> | undefined;
  // One step at a time: no keeper begins while the one before it may still put the light out.
  let steps: Promise<unknown> = Promise.resolve();

  function inTurn<T>(step: () => Promise<T>): Promise<T> {
    const turn = steps.then(step);
    steps = turn.catch(() => {});
    return turn;
  }
  async function bringLight(): Promise<void> {
    if (isLit || !light) return;
    const why = await ask('light', FIRST_ANSWER_TIMEOUT_MS);
    if (why !== undefined) throw await failed(why);
    isLit = true;
    relitMs = undefined;
    checking = clock.every('privacy-light-check', CHECK_EVERY_MS, look);
    log.info({}, 'privacy-light-lit');
  }
  function tolerate(error: unknown): void {
    if (isRequired) throw error;
    log.warn({ reason: errorText(error), isRequired }, 'privacy-light-failed');
  }
  async function putOut(): Promise<void> {
    checking?.cancel();
    const wasLit = isLit;
    isLit = false;
    let last = keeper;
    keeper = undefined;
    if (!last && !wasLit) return;
    // A keeper that was killed, then or now, left the light on: another one has to put it out.
    for (let attempt = 0; light && attempt < PUT_OUT_ATTEMPTS; attempt += 1) {
      last ??= openKeeper(options, light, () => {});
      if (await last.end()) {
        if (wasLit) log.info({}, 'privacy-light-out');
        return;
      }
      log.warn({ attempt, reason: last.lastWords() }, 'privacy-light-out-unproven');
      last = undefined;
    }
  }
  /** Puts out what may be half lit; its keeper has said its last words by then. */
  async function failed(why: string): Promise<GlasscastError> {
    const last = keeper;
    await putOut();
    return new GlasscastError('PRIVACY_LIGHT_FAILED', { reason: last?.lastWords() ?? why });
  }
  /**
   * @param firstMs for a keeper that has only just been started
   * @returns what is wrong; undefined: the light is lit.
   */
  async function ask(order: 'light' | 'check', firstMs = RELIT_TIMEOUT_MS): Promise<string | undefined> {
    if (!light) return undefined;
    const asked = keeper ?? openKeeper(options, light, look);
    keeper = asked;
    const answer = await asked.ask(order, firstMs);
    if (answer === 'lit') return undefined;
    if (answer === 'out') return whatItMeans.out;
    // Of this one nothing can be asked any more.
    keeper = undefined;
    await asked.end();
    return asked.lastWords() ?? whatItMeans[answer];
  }
  /** Somebody else may have put it out, or ended the keeper. Lit again once; then those who hold it are told. */
  async function prove(): Promise<void> {
    if (!isLit) return;
    const why = await ask('check');
    if (why === undefined) return;
    log.warn({ reason: why }, 'privacy-light-lost');
    const nowMs = clock.monotonicMs();
    const isSteady = relitMs === undefined || nowMs - relitMs > STEADY_MS;
    relitMs = nowMs;
    const stillWrong = isSteady ? await ask('light') : why;
    if (stillWrong === undefined) return;
    // First of all: the pictures end before anything is cleaned up.
    if (isRequired) tell(new GlasscastError('PRIVACY_LIGHT_FAILED', { reason: stillWrong }));
    const { code, message } = await failed(stillWrong);
    log.warn({ code, reason: message, isRequired }, 'privacy-light-failed');
  }
  function look(): void {
    void inTurn(async () => {
      if (holders.size > 0) await prove();
    });
  }
  function tell(cause: GlasscastError): void {
    for (const holder of [...holders]) {
      const { onOut } = holder;
      holder.onOut = undefined;
      try {
        onOut?.(cause);
      } catch (error) {
        log.error({ reason: errorText(error) }, 'privacy-light-listener-failed');
      }
    }
  }
  function leave(holder: Holder): void {
    holders.delete(holder);
    if (holders.size === 0) onAllReleased();
  }
  async function release(holder: Holder): Promise<void> {
    leave(holder);
    await inTurn(async () => {
      if (holders.size === 0) await putOut();
    });
  }
  async function shutDown(): Promise<void> {
    const allReleased = new Promise<void>((resolve) => {
      onAllReleased = resolve;
    });
    tell(new GlasscastError('SHUTTING_DOWN'));
    if (holders.size > 0) {
      await withTimeout(clock, 'privacy-light-close', CLOSE_PATIENCE_MS, allReleased, () => new Error('held')).catch(
        () => log.warn({ holders: holders.size }, 'privacy-light-held-at-close'),
      );
    }
    await inTurn(putOut);
  }

  return {
    async hold(onOut) {
      if (closing) throw new GlasscastError('SHUTTING_DOWN');
      const holder: Holder = { onOut: undefined };
      holders.add(holder);
      try {
        await inTurn(async () => {
          await prove();
          await bringLight().catch(tolerate);
          holder.onOut = onOut;
        });
      } catch (error) {
        leave(holder);
        throw error;
      }
      if (closing) {
        await release(holder);
        throw new GlasscastError('SHUTTING_DOWN');
      }
      return () => release(holder);
    },
    get isLit() {
      return isLit;
    },
    async close() {
      closing ??= shutDown();
      await closing;
    },
  };
}

const whatItMeans = {
  out: 'it does not stay lit',
  silent: 'its keeper does not answer',
  gone: 'its keeper ended',
} as const;

type Answer = 'lit' | keyof typeof whatItMeans;

interface Keeper {
  /**
   * One question at a time. `silent`: no answer in time; `gone`: the process has ended.
   * @param firstMs how long the very first answer may take
   */
  ask(order: 'light' | 'check', firstMs: number): Promise<Answer>;
  /** Its last line on standard error, e.g. that the LED may not be written to. */
  lastWords(): string | undefined;
  /** @returns whether it has put the light out and seen that it is. */
  end(): Promise<boolean>;
}

/** Never throws: a keeper that cannot be started has ended, and whoever captures has to hear of it. */
function openKeeper(options: PrivacyLightOptions, light: PrivacyLightDriver, onGone: () => void): Keeper {
  try {
    return startKeeper(options, light, onGone);
  } catch (error) {
    return { ask: async () => 'gone', lastWords: () => errorText(error), end: async () => false };
  }
}

function startKeeper(
  { spawn, clock, sysRoot = '/sys' }: PrivacyLightOptions,
  light: PrivacyLightDriver,
  onGone: () => void,
): Keeper {
  let answer = (_line: string) => {};
  let lastWords: string | undefined;
  const child: Child = spawn({
    ...keeperCommand(light, sysRoot),
    name: 'privacy-light',
    outlives: true,
    stdin: 'pipe',
    stdout: 'lines',
    stopTimeoutMs: ANSWER_TIMEOUT_MS,
    onStdoutLine: (line) => answer(line),
    onStderrLine(line) {
      lastWords = line;
    },
  });
  let isGone = false;
  let hasAnswered = false;
  void child.exited.then(() => {
    isGone = true;
    answer('gone');
    onGone();
  });
  return {
    async ask(order, firstMs) {
      const answered = new Promise<Answer>((resolve) => {
        answer = (line) => resolve(line === 'lit' || line === 'gone' ? line : 'out');
      });
      if (isGone) return 'gone';
      child.stdin?.write(`${order}\n`);
      const limitMs = hasAnswered ? ANSWER_TIMEOUT_MS : firstMs;
      try {
        const word = await withTimeout(clock, 'privacy-light-answer', limitMs, answered, () => new Error('silent'));
        hasAnswered = true;
        return word;
      } catch {
        return 'silent';
      }
    },
    lastWords: () => lastWords,
    end: async () => (await child.stop()).code === 0,
  };
}
