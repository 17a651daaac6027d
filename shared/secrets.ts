/**
 * Secrets exist in two forms from the door on: usable (`reveal()`) and printable (`***`).
 * The Redactor is the second net, for text that other programs wrote.
 */
import { inspect } from 'node:util';

const MASK = '***';

export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  /** The only way to the value; never pass the result to a log, a status or an error. */
  reveal(): string {
    return this.#value;
  }
  toString(): string {
    return MASK;
  }
  toJSON(): string {
    return MASK;
  }
  [inspect.custom](): string {
    return MASK;
  }
}

/**
 * A URL fit for logs and other apps: scheme, host and the first path segment stay; user info, stream key and query go.
 * `rtmp://u:p@host:1935/live/key?x=1` → `rtmp://host:1935/live/***`.
 */
export function redactUrl(text: string): string {
  const match = /^([a-z][a-z0-9+.-]*):\/\/([^/?#]*)([^?#]*)/i.exec(text);
  if (!match) return MASK;
  const [, scheme, authority = '', path = ''] = match;
  const host = authority.slice(authority.lastIndexOf('@') + 1);
  const first = path.split('/')[1] ?? '';
  const hasMore = path.split('/').length > 2 || text.length > (match[0]?.length ?? 0);
  return `${scheme}://${host}${first ? `/${first}` : ''}${hasMore ? `/${MASK}` : ''}`;
}

export interface Redactor {
  /** From now on this value is masked wherever `redact` sees it. Values under 6 characters are refused: they would mask words. */
  add(secret: Secret | string): void;
  forget(secret: Secret | string): void;
  redact(text: string): string;
}

const PUBLISH_URL = /\b(rtmps?|srt):\/\/[^\s'"<>]+/gi;
const USER_INFO = /\b([a-z][a-z0-9+.-]*:\/\/)[^\s/@'"]+@/gi;

/** A text of somebody else's, with no publish URL and no user info in it whole. */
export function redactUrlsIn(text: string): string {
  return text.replace(PUBLISH_URL, (url) => redactUrl(url)).replace(USER_INFO, `$1${MASK}@`);
}

/** Shorter values would mask words. */
const MIN_CHARS = 6;
/** So many are looked for one by one; of more, those whose first characters stand in the text. */
const FEW = 50;

export function createRedactor(): Redactor {
  const known = new Map<string, number>();
  /** By the first characters, then by length: ten thousand keys of one app may begin alike, and every line comes by here. */
  const byHead = new Map<string, Map<number, Set<string>>>();
  const plain = (secret: Secret | string) => (typeof secret === 'string' ? secret : secret.reveal());
  const headOf = (value: string) => value.slice(0, MIN_CHARS);
  function foundIn(text: string): Iterable<string> {
    if (known.size <= FEW) return known.keys();
    const found = new Set<string>();
    for (let at = 0; at + MIN_CHARS <= text.length; at += 1) {
      const siblings = byHead.get(text.slice(at, at + MIN_CHARS));
      if (!siblings) continue;
      for (const [length, values] of siblings) {
        const value = text.slice(at, at + length);
        if (values.has(value)) found.add(value);
      }
    }
    return found;
  }
  function index(value: string): void {
    const siblings = byHead.get(headOf(value)) ?? new Map<number, Set<string>>();
    const alike = siblings.get(value.length) ?? new Set();
    byHead.set(headOf(value), siblings.set(value.length, alike.add(value)));
  }
  function unindex(value: string): void {
    const siblings = byHead.get(headOf(value));
    const alike = siblings?.get(value.length);
    alike?.delete(value);
    if (alike?.size === 0) siblings?.delete(value.length);
    if (siblings?.size === 0) byHead.delete(headOf(value));
  }
  return {
    add(secret) {
      const value = plain(secret);
      if (value.length < MIN_CHARS) return;
      known.set(value, (known.get(value) ?? 0) + 1);
      index(value);
    },
    forget(secret) {
      const value = plain(secret);
      const uses = (known.get(value) ?? 0) - 1;
      if (uses > 0) {
        known.set(value, uses);
        return;
      }
      known.delete(value);
      unindex(value);
    },
    redact(text) {
      let clean = text;
      // The longest first: one may begin another, whose rest would be left.
      for (const value of [...foundIn(text)].sort((one, other) => other.length - one.length)) {
        if (clean.includes(value)) clean = clean.replaceAll(value, MASK);
      }
      return redactUrlsIn(clean);
    },
  };
}
