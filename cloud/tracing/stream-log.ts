/**
 * A log whose lines about a stream name its user and its trace, also where the part that writes them knows the stream's id
 * alone. Adds fields and changes none. A child costs one small object: there may be one for each of many streams.
 */
import type { Log } from '../../shared/log.ts';

export interface StreamIdentity {
  userId?: string | undefined;
  traceId?: string | undefined;
}

type Fields = Readonly<Record<string, unknown>>;
type Level = 'debug' | 'info' | 'warn' | 'error';
type Write = (fields: unknown, event?: string) => void;

/** @param identityOf asked for every line about a stream, at that moment. */
export function createStreamLog(log: Log, identityOf: (streamId: string) => StreamIdentity): Log {
  return new StreamLog(log, identityOf, {}) as unknown as Log;
}

class StreamLog {
  readonly #log: Log;
  readonly #identityOf: (streamId: string) => StreamIdentity;
  readonly #bound: Fields;

  constructor(log: Log, identityOf: (streamId: string) => StreamIdentity, bound: Fields) {
    this.#log = log;
    this.#identityOf = identityOf;
    this.#bound = bound;
  }

  debug(fields: unknown, event?: string): void {
    this.#write('debug', fields, event);
  }
  info(fields: unknown, event?: string): void {
    this.#write('info', fields, event);
  }
  warn(fields: unknown, event?: string): void {
    this.#write('warn', fields, event);
  }
  error(fields: unknown, event?: string): void {
    this.#write('error', fields, event);
  }
  child(fields: Fields): StreamLog {
    return new StreamLog(this.#log, this.#identityOf, { ...this.#bound, ...fields });
  }

  #write(level: Level, fields: unknown, event: string | undefined): void {
    const said = typeof fields === 'object' && fields !== null ? fields : { reason: String(fields) };
    const whole: Record<string, unknown> = { ...this.#bound, ...said };
    const { streamId } = whole;
    if (typeof streamId === 'string') {
      const { userId, traceId } = this.#identityOf(streamId);
      whole.userId ??= userId;
      if (traceId !== undefined) whole.traceId ??= traceId;
    }
    (this.#log[level] as Write).call(this.#log, whole, event);
  }
}
