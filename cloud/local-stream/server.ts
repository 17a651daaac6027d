/**
 * Composition root of the local Stream: Cloudflare's Stream Live API with media behind it, on one HTTP port and one RTMP port.
 * Builds and closes the parts; holds no rule of its own.
 */
import type { SpawnChild } from '../../shared/child-process.ts';
import type { Clock } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { Redactor, Secret } from '../../shared/secrets.ts';

export interface LocalStreamOptions {
  clock: Clock;
  log: Log;
  redactor: Redactor;
  spawn: SpawnChild;
  /** Holds the database (mode 0600) and one folder per video; made when missing. */
  dataDir: string;
  /** Bearer token of the API. Default: the one kept in `dataDir`, made at random the first time. */
  apiToken?: Secret;
  /** 32 hex digits. Default: `a1` sixteen times. */
  accountId?: string;
  /** Address to listen on. Default 127.0.0.1. */
  listenHost?: string;
  /** Host written into every URL handed out. Default 127.0.0.1. */
  publicHost?: string;
  /** Default 0: a free one. */
  httpPort?: number;
  /** Default 0: a free one. */
  rtmpPort?: number;
  /** Hold window of inputs whose `recording.timeoutSeconds` is null. Default 60. */
  defaultHoldSeconds?: number;
  /** From the end of a broadcast to `ready`. Default 500. */
  readyDelayMs?: number;
  /** For thumbnails. Default: none are made and the address answers 404. */
  ffmpegPath?: string;
}

export interface LocalStreamAddress {
  /** `http://HOST:PORT/client/v4` */
  apiBaseUrl: string;
  accountId: string;
  apiToken: Secret;
  httpPort: number;
  rtmpPort: number;
}

export interface LocalStream {
  /** Listens on both ports. Errors: PORT_IN_USE. One per process: the RTMP library is a singleton. */
  start(): Promise<LocalStreamAddress>;
  /** Cuts publishers, finishes recordings, closes ports. Idempotent. */
  close(): Promise<void>;
}

export function createLocalStream(_options: LocalStreamOptions): LocalStream {
  return {
    start: () => Promise.reject(new GlasscastError('INTERNAL', { reason: 'the local Stream is being built' })),
    close: () => Promise.resolve(),
  };
}
