/** What an operator asks of a relay over REST, at its own address or through a load balancer. */
import { GlasscastError } from '../../shared/errors.ts';
import { Secret } from '../../shared/secrets.ts';
import type { Bench } from './program.ts';

export interface Operator {
  readonly adminToken: string;
  /** Anything; bytes go as they are. @throws GlasscastError INTERNAL: refused, with the relay's code and reason */
  ask<T>(method: string, path: string, body?: object): Promise<T>;
  /** Of the glasses of this user. */
  coreToken(userId: string): Promise<Secret>;
  registerApp(app: { packageName: string; apiKey: string; publicUrl: string }): Promise<void>;
  /** The relay calls its webhook. */
  startApp(packageName: string, userId: string): Promise<void>;
  /** Users whose glasses are connected. */
  connectedUsers(): Promise<string[]>;
  streams<T extends { userId: string; state: string }>(): Promise<T[]>;
  /** Text of `/metrics`; undefined: it has none. */
  metrics(): Promise<string | undefined>;
}

const ANSWER_TIMEOUT_MS = 20_000;

/** @param adminToken default: one of its own, for the relay to be started with */
export function createOperator({ redactor }: Pick<Bench, 'redactor'>, url: string, adminToken?: string): Operator {
  const token = adminToken ?? crypto.randomUUID();
  redactor.add(token);
  const authorization = `Bearer ${token}`;
  async function ask<T>(method: string, path: string, body?: object): Promise<T> {
    const type = isBytes(body) ? 'application/octet-stream' : 'application/json';
    const response = await fetch(url + path, {
      ...{ method, headers: { authorization, ...(body ? { 'content-type': type } : {}) } },
      ...(body ? { body: isBytes(body) ? Buffer.from(body) : JSON.stringify(body) } : {}),
      signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
    });
    const answer = parsed(await response.text()) as T & { code?: string; message?: string };
    if (response.ok) return answer;
    const { code = '', message = '' } = answer;
    throw new GlasscastError('INTERNAL', { reason: `${method} ${path}: ${response.status} ${code} ${message}` });
  }
  return {
    ...{ adminToken: token, ask },
    async coreToken(email) {
      const { coreToken } = await ask<{ coreToken: string }>('POST', '/api/tokens', { email });
      redactor.add(coreToken);
      return new Secret(coreToken);
    },
    async registerApp({ packageName, apiKey, publicUrl }) {
      await ask('PUT', `/api/apps/${packageName}`, { publicUrl, apiKey });
    },
    async startApp(packageName, userId) {
      await ask('POST', `/api/apps/${packageName}/start`, { userId });
    },
    async connectedUsers() {
      const { sessions } = await ask<{ sessions: { userId: string; connected: boolean }[] }>('GET', '/api/sessions');
      return sessions.filter(({ connected }) => connected).map(({ userId }) => userId);
    },
    streams: async <T>() => (await ask<{ streams: T[] }>('GET', '/api/streams')).streams,
    async metrics() {
      const response = await fetch(`${url}/metrics`, { headers: { authorization } });
      const text = await response.text();
      return response.ok ? text : undefined;
    },
  };
}

const isBytes = (body: object | undefined): body is Uint8Array => body instanceof Uint8Array;

/** A load balancer's own answers are no JSON. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text || '{}');
  } catch {
    return {};
  }
}
