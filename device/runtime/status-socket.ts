/**
 * Where the running agent tells its status: HTTP on a unix socket that is its owner's alone, `GET /status` and nothing else.
 * What is told is not known here. Also how to ask there.
 */

import { chmodSync } from 'node:fs';
import { lstat, mkdir, rename, rm } from 'node:fs/promises';
import { createServer, request, type Server } from 'node:http';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import type { Clock } from '../../shared/clock.ts';
import { errorText, GlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';

export interface StatusSocketOptions {
  path: string;
  /** Anything that JSON can say, without secrets. */
  status: () => unknown;
  log: Log;
}

export interface StatusSocket {
  /** Removes the socket, if it is still ours. Idempotent. */
  close(): Promise<void>;
}

/** The longest that the kernel takes, less the ending of the name under which it is made. */
const MAX_PATH_BYTES = 103;

/**
 * A socket that a killed agent left is replaced.
 * @throws GlasscastError INVALID_CONFIG: another agent answers there, something else is there, or it cannot be made.
 */
export async function openStatusSocket({ path, status, log }: StatusSocketOptions): Promise<StatusSocket> {
  const refused = (reason: string, cause?: unknown) =>
    new GlasscastError('INVALID_CONFIG', { reason: `--status-socket ${path}: ${reason}`, cause });
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) throw refused(`longer than ${MAX_PATH_BYTES} bytes`);
  const there = await lstat(path).catch(() => undefined);
  if (there && !there.isSocket()) throw refused('something else is there; choose another path');
  if (there && (await isAnswered(path))) throw refused('another agent answers there; choose another path, or none');

  const server = createServer((incoming, response) => {
    const isAsked = incoming.method === 'GET' && incoming.url === '/status';
    let body: string;
    try {
      body = JSON.stringify(isAsked ? status() : { error: 'GET /status is all there is' });
      response.statusCode = isAsked ? 200 : 404;
    } catch (error) {
      log.error({ reason: errorText(error) }, 'status-failed');
      body = JSON.stringify({ error: 'The status cannot be told' });
      response.statusCode = 500;
    }
    response.setHeader('content-type', 'application/json');
    response.end(`${body}\n`);
  });
  // Under another name until it is its owner's alone; the renaming also replaces a stale one in one step.
  const made = `${path}.new`;
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await rm(made, { force: true });
    await listening(server, made);
    chmodSync(made, 0o600);
    await rename(made, path);
  } catch (error) {
    server.close();
    await rm(made, { force: true }).catch(() => {});
    throw refused(errorText(error), error);
  }
  const own = await lstat(path).catch(() => undefined);
  let closing: Promise<void> | undefined;
  async function shut(): Promise<void> {
    const ended = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    await ended;
    const now = await lstat(path).catch(() => undefined);
    if (now && own && now.ino === own.ino && now.dev === own.dev) await rm(path, { force: true }).catch(() => {});
  }
  return {
    async close() {
      closing ??= shut();
      await closing;
    },
  };
}

function listening(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      server.on('error', () => {});
      resolve();
    });
  });
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

const ANSWER_TIMEOUT_MS = 3_000;
const MAX_ANSWER_BYTES = 1_000_000;

/** What the running agent says. @throws Error with one short reason: nobody answers, or not like an agent. */
export function askStatus(path: string, clock: Clock): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const fail = (reason: string) => {
      timer.cancel();
      reject(new Error(reason));
      asking.destroy();
    };
    const timer = clock.after('status-answer', ANSWER_TIMEOUT_MS, () => fail('it does not answer'));
    const asking = request({ socketPath: path, path: '/status', agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part: string) => {
        text += part;
        if (text.length > MAX_ANSWER_BYTES) fail('its answer is too long');
      });
      response.on('error', () => fail('its answer broke off'));
      response.on('end', () => {
        try {
          if (response.statusCode !== 200) throw new Error(`it answered ${response.statusCode}`);
          const answer: unknown = JSON.parse(text);
          timer.cancel();
          resolve(answer);
        } catch (error) {
          fail(error instanceof SyntaxError ? 'its answer is no JSON' : errorText(error));
        }
      });
    });
    asking.on('error', (error) => fail(reasonOf(error)));
    asking.end();
  });
}

function reasonOf(error: Error): string {
  const code = 'code' in error ? String(error.code) : '';
  if (code === 'ENOENT' || code === 'ECONNREFUSED') return 'no agent is running there';
  return code === 'EACCES' ? 'it belongs to another user' : errorText(error);
}
