/**
 * The policy of updates on the glasses: which order counts, when it may be carried out, what is told, and whether a version
 * on trial has proven itself. One order at a time, the newest wins; nothing is loaded, written or switched while a stream
 * runs. Files are `release-slots.ts`' matter, the network `release-download.ts`'.
 */

import type { Clock, Timer } from '../../shared/clock.ts';
import { asGlasscastError, errorText, GlasscastError } from '../../shared/errors.ts';
import { abortWith } from '../../shared/linked-abort.ts';
import type { Log } from '../../shared/log.ts';
import type { FromGlasses } from '../../shared/protocol/glasses-messages.ts';
import type { AgentFacts, AgentUpdateStatus } from '../../shared/protocol/releases.ts';
import { compareVersions } from '../../shared/release.ts';
import { diskRefusal, type ReleaseDownload } from './release-download.ts';
import type { ReleaseSlots } from './release-slots.ts';
import type { Placed } from './slot-state.ts';

export interface UpdaterOptions {
  clock: Clock;
  log: Log;
  send: (message: FromGlasses) => void;
  /** What runs now, as the launcher has started it. */
  running: Placed;
  /** As Node calls it. */
  architecture: string;
  /** Undefined: updates can be carried out. Else why not, for the relay. */
  hindrance: string | undefined;
  slots: Pick<
    ReleaseSlots,
    'state' | 'free' | 'install' | 'mark' | 'confirm' | 'fail' | 'unfitness' | 'rollbackTarget'
  >;
  download: ReleaseDownload;
  /** This start is the first one of a version that has to prove itself. */
  isTrial: boolean;
  /** How long it has for that. */
  trialMs: number;
  /** No stream runs, begins or ends. */
  isIdle: () => boolean;
  /** Says hello again: its facts have changed. */
  announce: () => void;
  /** The agent ends, in order, and does so without delay: no order is taken any more. */
  end: (exitCode: number) => void;
}

export interface Updater {
  facts(): AgentFacts;
  update(version: string): void;
  rollBack(): void;
  /** The relay has accepted us. */
  onAccepted(): void;
  /** A video encoder works here. */
  onEncoderProven(): void;
  /** Ends the order under way; what has come of a release stays. */
  close(): Promise<void>;
}

type Order = { kind: 'update'; version: string } | { kind: 'rollback' };

/** Of an agent that did not prove itself; see `launch`. */
export const TRIAL_FAILED_EXIT_CODE = 3;
const LOOK_MS = 500;
/** A percent each so many says enough. */
const PERCENT_STEP = 10;
const CONFIRM_RETRY_MS = 1_000;

export function createUpdater(options: UpdaterOptions): Updater {
  const { clock, log, running, slots, download, isIdle, hindrance } = options;
  let isOnTrial = options.isTrial;
  let isAccepted = false;
  let hasEncoder = false;
  let isEnding = false;
  let current: { order: Order; abort: AbortController } | undefined;
  let work: Promise<void> = Promise.resolve();
  let confirming: Timer | undefined;
  const deadline = isOnTrial ? clock.after('update-trial', options.trialMs, giveUp) : undefined;

  function tell(version: string, state: AgentUpdateStatus['state'], more: { percent?: number; reason?: string } = {}) {
    options.send({ type: 'agent_update_status', version, state, ...more });
  }
  function refuse(version: string, reason: string): void {
    log.warn({ version, reason }, 'update-refused');
    tell(version, 'refused', { reason: reason.slice(0, 500) });
  }

  // ── the trial ──

  function confirmWhenProven(): void {
    if (!isOnTrial || isEnding || !isAccepted || !hasEncoder) return;
    confirming?.cancel();
    try {
      if (!slots.confirm(running)) {
        fail('the record of its trial is gone');
        return;
      }
    } catch (error) {
      // A full disk may have room again before the deadline.
      log.warn({ reason: errorText(error) }, 'update-not-confirmed');
      confirming = clock.after('update-confirm', CONFIRM_RETRY_MS, confirmWhenProven);
      return;
    }
    isOnTrial = false;
    deadline?.cancel();
    log.info({ version: running.version }, 'update-confirmed');
    options.announce();
    if (current) begin(current.order);
  }
  function giveUp(): void {
    const missing = !isAccepted
      ? 'the relay was not reached'
      : !hasEncoder
        ? 'no video encoder works'
        : 'it could not be written down';
    fail(`${missing} within ${Math.round(options.trialMs / 1000)} s`);
  }
  function fail(reason: string): void {
    log.error({ version: running.version, reason }, 'update-failed');
    try {
      slots.fail(reason);
    } catch (error) {
      // Untold it is: the version of before runs all the same.
      log.warn({ reason: errorText(error) }, 'update-failure-untold');
    }
    endWith(TRIAL_FAILED_EXIT_CODE);
  }
  function endWith(exitCode: number): void {
    if (isEnding) return;
    isEnding = true;
    deadline?.cancel();
    confirming?.cancel();
    options.end(exitCode);
  }

  // ── orders ──

  function take(order: Order): void {
    if (isEnding || (current && isSame(current.order, order))) return;
    current?.abort.abort(new Error('a newer order came'));
    current = undefined;
    if (order.kind === 'update' && order.version === running.version) return;
    const reason = hindrance ?? objection(order);
    if (reason !== undefined) refuse(versionOf(order), reason);
    else if (isOnTrial && order.kind === 'rollback') fail('the relay has ordered it back');
    else begin(order);
  }
  function objection(order: Order): string | undefined {
    if (order.kind === 'rollback' || compareVersions(order.version, running.version) > 0) return undefined;
    return `${running.version} runs, which is newer; roll back instead`;
  }
  function versionOf(order: Order): string {
    return order.kind === 'update' ? order.version : running.version;
  }
  /** While a trial lasts the order waits for its end. */
  function begin(order: Order): void {
    const abort = new AbortController();
    const mine = { order, abort };
    current = mine;
    if (isOnTrial) return;
    work = work
      .then(() => carryOut(order, abort.signal))
      .finally(() => {
        if (current === mine) current = undefined;
      });
  }
  async function carryOut(order: Order, signal: AbortSignal): Promise<void> {
    try {
      const target = order.kind === 'update' ? await fetched(order.version, signal) : backTarget();
      await untilIdle(target.version, signal, 100);
      switchTo(target);
    } catch (error) {
      if (signal.aborted) return;
      refuse(versionOf(order), asGlasscastError(diskRefusal(error, versionOf(order)) ?? error).message);
    }
  }
  function backTarget(): Placed {
    const target = slots.rollbackTarget(running);
    if (!target) throw new GlasscastError('RELEASE_REFUSED', { reason: 'there is no version to go back to' });
    return target;
  }
  /** In a slot, proven. One that is there from an earlier try is not fetched again. */
  async function fetched(version: string, signal: AbortSignal): Promise<Placed> {
    const place = slots.free(running.place);
    const target = { place, version };
    if (slots.unfitness(target) === undefined) return target;
    const { headLine, code } = await downloaded(version, signal);
    await untilIdle(version, signal, 100);
    slots.install(place, headLine, code);
    await download.discard();
    return target;
  }
  /** A stream that begins has the uplink and the disk for itself: loading goes on after it. */
  async function downloaded(version: string, signal: AbortSignal) {
    let percent = 0;
    for (;;) {
      await untilIdle(version, signal, percent);
      tell(version, 'downloading', { percent });
      const pause = new AbortController();
      const looking = clock.every('update-pause', LOOK_MS, () => isIdle() || pause.abort(new Error('a stream began')));
      const release = abortWith(pause, signal);
      try {
        return await download.fetchRelease(version, pause.signal, (now) => {
          const isWorthIt = now >= percent + PERCENT_STEP || now === 100;
          if (isWorthIt) tell(version, 'downloading', { percent: now });
          if (isWorthIt) percent = now;
        });
      } catch (error) {
        if (signal.aborted || !pause.signal.aborted) throw error;
      } finally {
        release();
        looking.cancel();
      }
    }
  }
  async function untilIdle(version: string, signal: AbortSignal, percent: number): Promise<void> {
    signal.throwIfAborted();
    if (isIdle()) return;
    tell(version, 'waiting', { percent });
    while (!isIdle()) await clock.sleep(LOOK_MS, { signal, name: 'update-waits' });
  }
  /** Without a pause between look and end: a stream that is ordered later is the next version's. */
  function switchTo(target: Placed): void {
    slots.mark(running, target);
    log.info({ from: running.version, to: target.version, place: target.place }, 'update-switch');
    tell(target.version, 'switching');
    endWith(0);
  }

  return {
    facts() {
      const { last } = isOnTrial ? {} : slots.state();
      return {
        version: running.version,
        architecture: options.architecture,
        canUpdate: hindrance === undefined,
        ...(isOnTrial ? { onTrial: true } : {}),
        ...(last ? { lastUpdate: last } : {}),
      };
    },
    update: (version) => take({ kind: 'update', version }),
    rollBack: () => take({ kind: 'rollback' }),
    onAccepted() {
      isAccepted = true;
      confirmWhenProven();
    },
    onEncoderProven() {
      hasEncoder = true;
      confirmWhenProven();
    },
    async close() {
      isEnding = true;
      deadline?.cancel();
      confirming?.cancel();
      current?.abort.abort(new Error('the agent ends'));
      await work;
    },
  };
}

function isSame(one: Order, other: Order): boolean {
  return one.kind === 'update' ? other.kind === 'update' && one.version === other.version : other.kind === 'rollback';
}
