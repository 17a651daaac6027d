/** Which part of a file is asked for, and whether it is the same file still (RFC 9110 §13, §14). One range at most. Pure. */
import type { IncomingHttpHeaders } from 'node:http';

export type Wanted =
  | { kind: 'whole' }
  /** Both ends inclusive. */
  | { kind: 'part'; start: number; end: number }
  /** The file ends before it. */
  | { kind: 'beyond' }
  /** The caller has it already. */
  | { kind: 'unchanged' };

const WHOLE: Wanted = { kind: 'whole' };

/**
 * A range that is no range, or several of them, stands for the whole, as the RFC allows.
 * @param etag strong, with its quotes; @param bytes more than 0
 */
export function wantedOf(headers: IncomingHttpHeaders, etag: string, bytes: number): Wanted {
  const known = (headers['if-none-match'] ?? '').split(',').map((tag) => tag.trim().replace(/^W\//, ''));
  if (known.includes(etag) || known.includes('*')) return { kind: 'unchanged' };
  const [, first = '', last = ''] = /^bytes=(\d{0,15})-(\d{0,15})$/i.exec(headers.range?.trim() ?? '') ?? [];
  if (first === '' && last === '') return WHOLE;
  // A date proves nothing here, and a weak tag is none for parts.
  const ifRange = headers['if-range'];
  if (ifRange !== undefined && ifRange !== etag) return WHOLE;
  if (first === '') {
    const length = Math.min(Number(last), bytes);
    return length === 0 ? { kind: 'beyond' } : { kind: 'part', start: bytes - length, end: bytes - 1 };
  }
  const start = Number(first);
  const end = last === '' ? bytes - 1 : Math.min(Number(last), bytes - 1);
  if (last !== '' && Number(last) < start) return WHOLE;
  return start >= bytes ? { kind: 'beyond' } : { kind: 'part', start, end };
}
