/**
 * Stands between the relay and the provider's API and tells how long each call took as the caller saw it: first byte of the
 * request to last byte of the answer. Reads the request line only; tokens and bodies pass unread.
 */
import type { Clock } from '../../shared/clock.ts';
import { createTcpTap, type TcpTap } from './tcp-tap.ts';

export interface ApiCall {
  method: string;
  /** With the account in it, without the query. */
  path: string;
  /** `Clock.monotonicMs` at the first byte asked and at the last byte answered so far. */
  askedMs: number;
  answeredMs: number;
}

export interface ApiTapOptions {
  clock: Clock;
  target: () => { host: string; port: number };
  /** A call begins; `answeredMs` grows as the answer passes. */
  onCall: (call: ApiCall) => void;
}

export function createApiTap({ clock, target, onCall }: ApiTapOptions): TcpTap {
  return createTcpTap({
    target,
    observe() {
      // HTTP/1.1 without pipelining: one call at a time on a connection.
      let call: ApiCall | undefined;
      return {
        up(bytes) {
          const [, method = '', path = ''] = /^([A-Z]+) ([^ ?]+)/.exec(bytes.toString('latin1', 0, 400)) ?? [];
          if (!method) return;
          const nowMs = clock.monotonicMs();
          call = { method, path, askedMs: nowMs, answeredMs: nowMs };
          onCall(call);
        },
        down() {
          if (call) call.answeredMs = clock.monotonicMs();
        },
      };
    },
  });
}
