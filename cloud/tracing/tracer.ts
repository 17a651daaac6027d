/**
 * What traces are made of here, whoever keeps them: spans with parents, attributes and events, and the W3C `traceparent`
 * by which programs tell each other of them. No attribute holds a user, an address with a path, or a secret.
 */

export interface SpanContext {
  /** 32 hex digits. */
  traceId: string;
  /** 16 hex digits. */
  spanId: string;
}

export type Attributes = Readonly<Record<string, string | number | boolean>>;

export interface Span {
  readonly context: SpanContext;
  event(name: string, attributes?: Attributes): void;
  set(attributes: Attributes): void;
  rename(name: string): void;
  /** Once; a second end does nothing. @param atMs wall clock. Default: now. */
  end(how?: { atMs?: number; errorCode?: string | undefined }): void;
}

export interface SpanBeginning {
  kind?: 'server' | 'client' | 'internal';
  /** Undefined: it begins a trace of its own. */
  parent?: SpanContext | undefined;
  /** Another trace that has to do with it. */
  link?: SpanContext | undefined;
  attributes?: Attributes;
  /** Wall clock. Default: now. */
  atMs?: number;
}

export interface Tracer {
  begin(name: string, beginning?: SpanBeginning): Span;
  /** Sends what is left, as far as the collector takes it within a bounded time. Idempotent. */
  close(): Promise<void>;
}

/** W3C Trace Context, version 00, sampled. */
export function traceparentOf({ traceId, spanId }: SpanContext): string {
  return `00-${traceId}-${spanId}-01`;
}

/** Undefined for whatever is none: a bad header begins a new trace. Later versions may be longer. */
export function readTraceparent(header: string | string[] | undefined): SpanContext | undefined {
  if (typeof header !== 'string') return undefined;
  const [, version, traceId = '', spanId = '', rest] =
    /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?$/.exec(header) ?? [];
  if (version === undefined || version === 'ff' || (version === '00' && rest !== undefined)) return undefined;
  return /^0+$/.test(traceId) || /^0+$/.test(spanId) ? undefined : { traceId, spanId };
}
