/**
 * How the agent comes by its core token: given, in a file of somebody's, kept in a file of ours, or fetched from the relay
 * for a one-time code and then kept. A file of ours is its owner's alone; any other has to be.
 */

import { createHash } from 'node:crypto';
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as z from 'zod';
import { type BackoffPolicy, backoffMs, type Clock } from '../../shared/clock.ts';
import { errorText, GlasscastError } from '../../shared/errors.ts';
import { abortWith } from '../../shared/linked-abort.ts';
import type { Log } from '../../shared/log.ts';
import { ENROL_PATH, type EnrolmentAnswer, enrolmentAnswer } from '../../shared/protocol/enrolment.ts';
import { type Redactor, Secret } from '../../shared/secrets.ts';

export interface CoreTokenSources {
  /** Wins over everything else, and is not kept. */
  coreToken?: Secret | undefined;
  /** Redeemed once; another code than the one that gave the kept token is redeemed in its place. */
  enrolmentCode?: Secret | undefined;
  /** Holds the token and nothing else. */
  coreTokenFile?: string | undefined;
  /** Where systemd puts the unit's credentials ($CREDENTIALS_DIRECTORY); ours is called `core-token`. */
  credentialsFolder?: string | undefined;
  tokenFile: string;
  /** ws(s)://host:port/glasses-ws; codes are redeemed beside it. */
  relayUrl: string;
}

export interface EnrolmentOptions extends CoreTokenSources {
  clock: Clock;
  log: Log;
  redactor: Redactor;
  /** Ends the waiting for a relay that is away. */
  signal: AbortSignal;
  fetch?: typeof fetch;
}

/** What the file holds. */
const keptToken = z.object({
  userId: z.string(),
  coreToken: z.string().min(1),
  expiresAt: z.string().nullable(),
  /** Hex SHA-256 of the code that gave it. */
  hashedCode: z.string(),
});

const BACKOFF: BackoffPolicy = { firstMs: 500, factor: 2, maxMs: 30_000, jitter: 0.3 };
const ANSWER_TIMEOUT_MS = 10_000;
const CREDENTIAL = 'core-token';
const MAX_TOKEN_BYTES = 8_192;

/**
 * @throws GlasscastError INVALID_CONFIG: there is no token and no code, or the file cannot be read or written;
 * ENROLMENT_REFUSED. A relay that is away is waited for; then the signal's reason ends it.
 */
export async function findCoreToken(options: EnrolmentOptions): Promise<Secret> {
  const { enrolmentCode, log, redactor, tokenFile } = options;
  const given = await givenToken(options);
  if (given) return given.token;
  const kept = await readKept(tokenFile);
  const hashedCode = enrolmentCode && createHash('sha256').update(enrolmentCode.reveal()).digest('hex');
  if (kept && (hashedCode === undefined || hashedCode === kept.hashedCode)) return new Secret(kept.coreToken);
  if (!enrolmentCode || hashedCode === undefined) {
    const reason = `GLASSCAST_AGENT_CORE_TOKEN: is missing; so are --core-token-file, a kept token in ${tokenFile} and GLASSCAST_AGENT_ENROLMENT_CODE`;
    throw new GlasscastError('INVALID_CONFIG', { reason });
  }
  redactor.add(enrolmentCode);
  // Before the code is spent: its token must have a place.
  const draft = await openDraft(tokenFile);
  try {
    const { userId, coreToken: text, expiresAt } = await redeemed(enrolmentCode, options);
    redactor.add(text);
    await draft.keep(JSON.stringify({ userId, coreToken: text, expiresAt, hashedCode }));
    log.info({ userId, expiresAt, tokenFile }, 'enrolled');
    return new Secret(text);
  } finally {
    await draft.discard();
  }
}

export interface TokenAtHand {
  token: Secret;
  /** Where it is from, for people. */
  origin: string;
}

/**
 * The token that `findCoreToken` would give without asking the relay; a code stays unspent.
 * @throws GlasscastError INVALID_CONFIG: a file cannot be read.
 */
export async function coreTokenAtHand(
  sources: Omit<CoreTokenSources, 'relayUrl'> & { redactor: Redactor },
): Promise<TokenAtHand | undefined> {
  const given = await givenToken(sources);
  if (given) return given;
  const kept = await readKept(sources.tokenFile);
  return kept && { token: new Secret(kept.coreToken), origin: `of ${kept.userId}, kept in ${sources.tokenFile}` };
}

/** Somebody else's token, if there is one. An explicit file has to exist. */
async function givenToken({
  coreToken,
  coreTokenFile,
  credentialsFolder,
  redactor,
}: Omit<CoreTokenSources, 'relayUrl'> & { redactor: Redactor }): Promise<TokenAtHand | undefined> {
  if (coreToken) return { token: coreToken, origin: 'given by the environment or the file of settings' };
  if (coreTokenFile !== undefined) {
    const token = await readTokenText(coreTokenFile, '--core-token-file', 0o077, redactor);
    return { token, origin: `from ${coreTokenFile}` };
  }
  if (credentialsFolder === undefined) return undefined;
  try {
    // With an access list for the unit's user the group's bits say what the list allows at most.
    const token = await readTokenText(join(credentialsFolder, CREDENTIAL), 'credential', 0o007, redactor);
    return { token, origin: 'from systemd’s credentials' };
  } catch (error) {
    if (error instanceof GlasscastError && codeOf(error.cause) === 'ENOENT') return undefined;
    throw error;
  }
}

async function readTokenText(file: string, name: string, forbidden: number, redactor: Redactor): Promise<Secret> {
  const refused = (reason: string, cause?: unknown) =>
    new GlasscastError('INVALID_CONFIG', { reason: `${name} ${file}: ${reason}`, cause });
  let text: string;
  let mode: number;
  try {
    const handle = await open(file, 'r');
    try {
      ({ mode } = await handle.stat());
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(MAX_TOKEN_BYTES + 1), 0, MAX_TOKEN_BYTES + 1, null);
      text = buffer.toString('utf8', 0, bytesRead).trim();
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw refused(`cannot be read (${codeOf(error) ?? 'failed'})`, error);
  }
  if (process.platform !== 'win32' && (mode & forbidden) !== 0) {
    throw refused(`others may read it (mode ${(mode & 0o777).toString(8)}); chmod 600 it`);
  }
  // Goes into a header as it is.
  if (!/^[\x21-\x7e]+$/.test(text) || text.length > MAX_TOKEN_BYTES) throw refused('holds no token');
  redactor.add(text);
  return new Secret(text);
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined;
}

async function redeemed(code: Secret, options: EnrolmentOptions): Promise<EnrolmentAnswer> {
  const { clock, log, signal } = options;
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await askOnce(code, options);
    } catch (error) {
      if (signal.aborted || !(error instanceof GlasscastError) || !error.retryable) throw error;
      const delayMs = backoffMs(BACKOFF, attempt);
      log.warn({ code: error.code, reason: error.message, attempt, delayMs }, 'enrolment-waits');
      await clock.sleep(delayMs, { signal, name: 'enrolment-retry' });
    }
  }
}

async function askOnce(code: Secret, { clock, fetch: call = fetch, relayUrl, signal }: EnrolmentOptions) {
  const url = new URL(relayUrl.replace(/^ws/, 'http'));
  url.search = '';
  url.pathname = url.pathname.replace(/\/[^/]*$/, ENROL_PATH);
  const timeout = new AbortController();
  const timer = clock.after('enrolment-answer', ANSWER_TIMEOUT_MS, () => timeout.abort(new Error('no answer')));
  const release = abortWith(timeout, signal);
  const unreachable = (reason: string) =>
    new GlasscastError('RELAY_UNREACHABLE', { reason: `${url.href} (${reason})` });
  try {
    const response = await call(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ code: code.reveal() }),
      // The code is for this relay only.
      redirect: 'error',
      signal: timeout.signal,
    });
    if (response.status === 400 || response.status === 401) throw new GlasscastError('ENROLMENT_REFUSED');
    if (!response.ok) throw unreachable(`answered ${response.status}`);
    const answer = enrolmentAnswer.safeParse(await response.json());
    if (answer.success) return answer.data;
  } catch (error) {
    if (error instanceof GlasscastError) throw error;
    signal.throwIfAborted();
    throw unreachable(errorText(error instanceof Error && error.cause ? error.cause : error));
  } finally {
    timer.cancel();
    release();
  }
  throw new GlasscastError('INVALID_CONFIG', { reason: `--relay-url: ${url.href} is no Glasscast relay` });
}

async function readKept(file: string): Promise<z.output<typeof keptToken> | undefined> {
  try {
    return keptToken.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    // Not its words: they could quote the file.
    const reason = codeOf(error) ?? 'not a token file';
    throw new GlasscastError('INVALID_CONFIG', { reason: `--token-file ${file}: ${reason}` });
  }
}

async function openDraft(file: string): Promise<{ keep(text: string): Promise<void>; discard(): Promise<void> }> {
  const draft = `${file}.new`;
  try {
    await mkdir(dirname(file), { recursive: true, mode: 0o700 });
    await rm(draft, { force: true });
    const handle = await open(draft, 'wx', 0o600);
    return {
      async keep(text) {
        await handle.writeFile(text);
        await handle.sync();
        await rename(draft, file);
      },
      async discard() {
        await handle.close();
        await rm(draft, { force: true });
      },
    };
  } catch (error) {
    throw new GlasscastError('INVALID_CONFIG', { reason: `--token-file ${file}: ${errorText(error)}`, cause: error });
  }
}
