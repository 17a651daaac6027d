/**
 * The relay that a simulation goes to: one that is given, or one of its own, started with a fresh data folder and ended
 * with it. Owns that relay, never the fleet.
 */
import { fileURLToPath } from 'node:url';
import type { SpawnChild } from '../../shared/child-process.ts';
import { type Clock, withTimeout } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { Secret } from '../../shared/secrets.ts';
import type { FleetRelay } from './fleet.ts';
import { countsIn, type RelayCounts } from './fleet-report.ts';
import { createFleetTokens } from './fleet-tokens.ts';

export interface FleetTarget {
  /** `http://HOST:PORT` */
  url: string;
  relay: FleetRelay;
  /** Undefined: this relay tells none. */
  counts(): Promise<RelayCounts | undefined>;
  /** Takes away what was put there. */
  close(): Promise<void>;
}

const START_TIMEOUT_MS = 30_000;

export interface TargetOptions {
  spawn: SpawnChild;
  clock: Clock;
  /** For the data of a relay of our own. */
  folder: string;
  /** Of the given relay; needed with `url`. */
  adminToken: Secret | undefined;
  /** Signs core tokens; undefined: they are asked for, one by one. */
  coreTokenSecret: Secret | undefined;
  environment: NodeJS.ProcessEnv;
  onLine: (line: string) => void;
}

/** @throws GlasscastError RELAY_UNREACHABLE, ADMIN_TOKEN_REQUIRED, INVALID_CONFIG */
export async function openTarget(url: string | undefined, options: TargetOptions): Promise<FleetTarget> {
  if (url === undefined) return startOwnRelay(options);
  const { adminToken, clock, coreTokenSecret } = options;
  if (!adminToken) {
    throw new GlasscastError('INVALID_CONFIG', {
      reason: "--relay needs the relay's admin token in GLASSCAST_ADMIN_TOKEN",
    });
  }
  const base = url.replace(/^ws/, 'http').replace(/\/+$/, '');
  return targetAt(base, { adminToken, coreTokenSecret, clock, close: async () => {} });
}

async function startOwnRelay({ clock, environment, folder, onLine, spawn }: TargetOptions): Promise<FleetTarget> {
  const adminToken = new Secret(crypto.randomUUID());
  const coreTokenSecret = new Secret(crypto.randomUUID());
  const plain = Object.entries(environment).filter(([name]) => !name.startsWith('GLASSCAST_'));
  let onReady: (url: string) => void = () => {};
  const ready = new Promise<string>((resolve) => {
    onReady = resolve;
  });
  const child = spawn({
    name: 'relay',
    file: process.execPath,
    // The flags carry the loader that runs TypeScript.
    args: [
      ...process.execArgv,
      ...[fileURLToPath(new URL('../../cloud/main.ts', import.meta.url)), '--port', '0', '--data-dir', folder],
      ...['--log-level', 'warn'],
    ],
    env: {
      ...Object.fromEntries(plain),
      GLASSCAST_ADMIN_TOKEN: adminToken.reveal(),
      GLASSCAST_CORE_TOKEN_SECRET: coreTokenSecret.reveal(),
      GLASSCAST_LOCAL_STREAM_HTTP_PORT: '0',
      GLASSCAST_LOCAL_STREAM_RTMP_PORT: '0',
    },
    stdout: 'lines',
    stopTimeoutMs: 15_000,
    onStdoutLine(line) {
      const [, url] = /^Relay ready: (\S+)/.exec(line) ?? [];
      if (url) onReady(url);
    },
    onStderrLine: onLine,
  });
  const died = child.exited.then(({ lastLines }): never => {
    throw new GlasscastError('CHILD_START_FAILED', { reason: `relay: ${lastLines.at(-1) ?? 'it said nothing'}` });
  });
  died.catch(() => {});
  const late = () => new GlasscastError('CHILD_START_FAILED', { reason: 'the relay did not become ready' });
  const url = await withTimeout(clock, 'relay-ready', START_TIMEOUT_MS, Promise.race([ready, died]), late);
  const close = async () => {
    await child.stop();
  };
  return targetAt(url, { adminToken, coreTokenSecret, clock, close });
}

function targetAt(
  url: string,
  parts: { adminToken: Secret; coreTokenSecret: Secret | undefined; clock: Clock; close: () => Promise<void> },
): FleetTarget {
  const { adminToken, clock, close, coreTokenSecret } = parts;
  const registered: string[] = [];
  const asked = new Map<string, Promise<string>>();
  async function ask<T>(method: string, path: string, body?: object): Promise<T> {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${adminToken.reveal()}`,
        ...(body ? { 'content-type': 'application/json' } : {}),
      },
      ...(body ? { body: JSON.stringify(body) } : {}),
    }).catch((cause: unknown) => {
      throw new GlasscastError('RELAY_UNREACHABLE', { reason: url, cause });
    });
    const text = await response.text();
    if (response.status === 401) throw new GlasscastError('ADMIN_TOKEN_REQUIRED');
    if (!response.ok) throw new GlasscastError('INTERNAL', { reason: `${method} ${path}: ${response.status} ${text}` });
    return (text === '' ? {} : JSON.parse(text)) as T;
  }
  const issued = async (email: string) => {
    const request = { email, label: 'simulation', lifetimeSeconds: 86_400 };
    return (await ask<{ coreToken: string }>('POST', '/api/tokens', request)).coreToken;
  };
  const signed = coreTokenSecret && createFleetTokens({ clock, secret: coreTokenSecret });
  return {
    url,
    relay: {
      glassesUrl: `${url.replace(/^http/, 'ws')}/glasses-ws`,
      tokenOf(userId) {
        if (signed) return signed(userId);
        const token = asked.get(userId) ?? issued(userId);
        asked.set(userId, token);
        // Asked for again at the next attempt.
        token.catch(() => asked.delete(userId));
        return token;
      },
      async registerApp({ packageName, apiKey, publicUrl }) {
        await ask('PUT', `/api/apps/${packageName}`, { publicUrl, apiKey });
        registered.push(packageName);
      },
    },
    async counts() {
      const response = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${adminToken.reveal()}` } });
      return response.ok ? countsIn(await response.text()) : undefined;
    },
    async close() {
      for (const name of registered.splice(0)) await ask('DELETE', `/api/apps/${name}`).catch(() => {});
      await close();
    },
  };
}
