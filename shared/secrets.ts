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

export function createRedactor(): Redactor {
  const known = new Map<string, number>();
  const plain = (secret: Secret | string) => (typeof secret === 'string' ? secret : secret.reveal());
  return {
    add(secret) {
      const value = plain(secret);
      if (value.length >= 6) known.set(value, (known.get(value) ?? 0) + 1);
    },
    forget(secret) {
      const value = plain(secret);
      const uses = (known.get(value) ?? 0) - 1;
      if (uses > 0) known.set(value, uses);
      else known.delete(value);
    },
    redact(text) {
      let clean = text;
      for (const value of known.keys()) {
        if (clean.includes(value)) clean = clean.replaceAll(value, MASK);
      }
      return redactUrlsIn(clean);
    },
  };
}
