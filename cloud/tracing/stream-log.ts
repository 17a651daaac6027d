/**
 * A log whose lines about a stream name its user and its trace, also where the part that writes them knows the stream's id
 * alone. Adds fields and changes none.
 */
import type { Log } from '../../shared/log.ts';

export interface StreamIdentity {
  userId?: string | undefined;
  traceId?: string | undefined;
}

type Fields = Readonly<Record<string, unknown>>;
type Write = (fields: unknown, event?: string) => void;

/** @param identityOf asked for every line about a stream, at that moment. */
export function createStreamLog(log: Log, identityOf: (streamId: string) => StreamIdentity, bound: Fields = {}): Log {
  function complete(fields: unknown): unknown {
    if (typeof fields !== 'object' || fields === null) return fields;
    const { streamId = bound.streamId, userId = bound.userId } = fields as Fields;
    if (typeof streamId !== 'string') return fields;
    const known = identityOf(streamId);
    return {
      ...(userId === undefined && known.userId !== undefined ? { userId: known.userId } : {}),
      ...(known.traceId === undefined ? {} : { traceId: known.traceId }),
      ...fields,
    };
  }
  const level = (name: 'debug' | 'info' | 'warn' | 'error') => {
    const write = (log[name] as Write).bind(log);
    return ((fields, event) => write(complete(fields), event)) as Write as Log['info'];
  };
  return {
    debug: level('debug'),
    info: level('info'),
    warn: level('warn'),
    error: level('error'),
    child: (fields) => createStreamLog(log.child(fields), identityOf, { ...bound, ...fields }),
  };
}
