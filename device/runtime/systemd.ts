/**
 * Tells systemd how we are: ready, what we do, stopping, and that we live (the watchdog). Node has no unix datagram sockets,
 * so each word is one run of `systemd-notify`; without it, or without somebody to tell, nothing is done.
 */
import { findOnPath, type SpawnChild } from '../../shared/child-process.ts';
import type { Clock, Timer } from '../../shared/clock.ts';
import type { Log } from '../../shared/log.ts';

export interface ServiceNotifierOptions {
  /** NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID and PATH are read. */
  environment: Record<string, string | undefined>;
  /** Ours, as systemd knows it. */
  pid: number;
  /** False withholds the sign of life: systemd then restarts us. */
  isHealthy: () => boolean;
  spawn: SpawnChild;
  clock: Clock;
  log: Log;
}

export interface ServiceNotifier {
  /** We are up; the signs of life begin. @param text one line for `systemctl status`. */
  ready(text?: string): void;
  /** One line for `systemctl status`; the same line again costs nothing. */
  status(text: string): void;
  stopping(): void;
  /** Ends the signs of life and settles when all words are out. */
  close(): Promise<void>;
}

/** `systemd-notify` waits until systemd has read; it hangs when nobody does. */
const SEND_TIMEOUT_MS = 5_000;
/** Half of the time would do; a third leaves room for a slow machine. */
const SIGNS_PER_TIMEOUT = 3;

export function createServiceNotifier(options: ServiceNotifierOptions): ServiceNotifier {
  const { environment, isHealthy, clock, log } = options;
  const { NOTIFY_SOCKET, PATH } = environment;
  const file = NOTIFY_SOCKET ? findOnPath('systemd-notify', PATH ?? '') : undefined;
  const signEveryMs = watchdogMs(options) / SIGNS_PER_TIMEOUT;
  let watchdog: Timer | undefined;
  let lastStatus: string | undefined;
  let isSick = false;
  // In order: "ready" must not overtake "stopping".
  let words: Promise<void> = Promise.resolve();
  let waiting = 0;
  if (NOTIFY_SOCKET && !file) log.warn({}, 'systemd-notify-missing');

  function say(...assignments: string[]): void {
    if (!file) return;
    waiting += 1;
    words = words
      .then(() => send(file, assignments))
      .finally(() => {
        waiting -= 1;
      });
  }
  async function send(command: string, assignments: string[]): Promise<void> {
    const child = options.spawn({
      name: 'systemd-notify',
      file: command,
      args: assignments,
      env: { PATH, NOTIFY_SOCKET },
    });
    const patience = clock.after('systemd-notify', SEND_TIMEOUT_MS, () => void child.stop());
    const { end, code, lastLines } = await child.exited;
    patience.cancel();
    if (end !== 'exited' || code !== 0) log.warn({ end, code, reason: lastLines.at(-1) }, 'systemd-notify-failed');
  }
  function giveSign(): void {
    const wasSick = isSick;
    isSick = !isHealthy();
    if (isSick) {
      if (!wasSick) log.error({}, 'watchdog-withheld');
      return;
    }
    // One that still waits says the same.
    if (waiting === 0) say('WATCHDOG=1');
  }

  return {
    ready(text) {
      lastStatus = text;
      say('READY=1', ...(text === undefined ? [] : [`STATUS=${oneLine(text)}`]));
      if (file && signEveryMs > 0) watchdog ??= clock.every('systemd-watchdog', signEveryMs, giveSign);
    },
    status(text) {
      if (text === lastStatus) return;
      lastStatus = text;
      say(`STATUS=${oneLine(text)}`);
    },
    stopping: () => say('STOPPING=1'),
    async close() {
      watchdog?.cancel();
      await words;
    },
  };
}

/** 0: systemd waits for no sign, or for one of another process. */
function watchdogMs({ environment: { WATCHDOG_USEC, WATCHDOG_PID }, pid }: ServiceNotifierOptions): number {
  if (WATCHDOG_PID && Number(WATCHDOG_PID) !== pid) return 0;
  const ms = Number(WATCHDOG_USEC) / 1_000;
  return ms > 0 && Number.isFinite(ms) ? ms : 0;
}

/** A line end would begin another assignment. */
function oneLine(text: string): string {
  return text.replace(/\p{Cc}+/gu, ' ').trim();
}
