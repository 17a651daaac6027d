/**
 * Flashing a board, step by step: look, package, code, upload, apply, hello, test stream. Owns the order, what is told of each
 * step and the way back; knows nothing of how the board is reached. Whenever it ends, the board has what was there before or
 * what was ordered, or ends by itself in one of the two.
 */
import { errorText, GlasscastError, isGlasscastError } from '../../shared/errors.ts';
import type { Redactor, Secret } from '../../shared/secrets.ts';
import type { ApplyResult, Board, BoardArchitecture, BoardFacts, BoardFile } from './board.ts';
import { boardText, nextAfter, warningsOf, whyUnfit } from './fitness.ts';
import {
  applyScript,
  type FlashOrder,
  filesOf,
  fingerprintOf,
  type PackageFile,
  type RunOptions,
} from './flash-order.ts';
import type { RelaySide } from './relay-side.ts';

/** `would`: a dry run; nothing was done. */
export type StepState = 'ok' | 'warning' | 'skipped' | 'would' | 'failed';

export interface FlashTeller {
  /** A step has ended. */
  step(name: string, state: StepState, text: string): void;
  /** A step is under way. @param percent of it; undefined: not to be told */
  progress(name: string, text: string, percent: number | undefined): void;
}

export interface FlashOptions {
  board: Board;
  order: Omit<FlashOrder, 'package'> & { source: string };
  packageFor: (architecture: BoardArchitecture) => Promise<PackageFile>;
  /** One that the person has; else the relay is asked for one when the board needs it. */
  code: Secret | undefined;
  /** Undefined: its operator API cannot be used from here; hello and test stream are then not looked at. */
  relay: RelaySide | undefined;
  wantsTestStream: boolean;
  isDryRun: boolean;
  run: Pick<RunOptions, 'deadlineSeconds' | 'gate' | 'capture'>;
  newId: () => string;
  nowMs: () => number;
  tell: FlashTeller;
  redactor: Redactor;
  /** The person's Ctrl-C. */
  signal: AbortSignal;
}

export interface FlashOutcome {
  outcome: ApplyResult['outcome'] | 'dry-run';
  /** Empty: none. */
  version: string;
}

/** What a person is told who stops it, or whose connection is lost, by how far it was. */
const STANDING = {
  untouched: 'nothing was changed on the board',
  uploading: 'nothing was changed on the board; the same command goes on where the upload was',
  applying: 'the board goes on by itself and ends with the new or the old version; the same command tells which',
  proving: 'the new version is installed and has proven itself on the board; the same command looks at the rest',
} as const;

/**
 * @throws GlasscastError BOARD_UNREACHABLE, BOARD_UNFIT, INVALID_CONFIG; FLASH_FAILED: with why, what is on the board now and
 * what to do next; its details hold the board's last `lines`, redacted
 */
export async function flash(given: FlashOptions): Promise<FlashOutcome> {
  const options = { ...given, tell: discreet(given) };
  const { board, tell, signal, isDryRun, relay } = options;
  const at = { standing: 'untouched' as keyof typeof STANDING };
  try {
    const facts = await lookAt(board, options);
    const order = { ...options.order, package: await takePackage(facts, options) };
    requireRoom(facts, order.package, board);
    if (isSame(facts, order, options)) {
      tell.step('Package', 'ok', 'already flashed, and running; nothing is changed');
      const version = facts.installedVersion ?? '';
      if (isDryRun) return { outcome: 'dry-run', version };
      at.standing = 'proving';
      // An update may have brought it further since: that is no fault.
      await prove(undefined, options);
      return { outcome: 'already', version };
    }
    if (isDryRun) return planned(facts, order, options);
    const enrolment = await codeFor(facts, options);
    let isSpent = false;
    try {
      const runId = options.newId();
      at.standing = 'uploading';
      await upload(filesOf(order, { ...options.run, runId, code: enrolment?.code }), options);
      at.standing = 'applying';
      isSpent = true;
      // From here on the board needs it, also while nobody looks; once it has told its end, what is unspent lets nobody in.
      const result = await applied('apply', runId, options).catch(async (error: unknown) => {
        isSpent = !hasEnded(error);
        throw error;
      });
      if (result.outcome === 'armed') return result;
      at.standing = 'proving';
      await prove(result.version, options).catch((error: unknown) => takeBack(error, result, options));
      return result;
    } finally {
      // A code that was brought nowhere lets nobody in.
      if (!isSpent) await enrolment?.cancel().catch(() => {});
    }
  } catch (error) {
    throw await explained(error, STANDING[at.standing], options);
  }

  /** A new version that works on the board and not with the relay is no new version. */
  async function takeBack(error: unknown, { outcome }: ApplyResult, { newId }: FlashOptions): Promise<void> {
    // A person who stops here has a board that has proven itself; a relay that is away is no fault of the board's.
    if (signal.aborted || outcome !== 'flashed' || !relay || !isGlasscastError(error) || error.code !== 'FLASH_FAILED')
      throw error;
    tell.step('Relay', 'failed', error.message);
    const { version } = await applied('undo', newId(), options);
    throw failure(`${reasonOf(error)}; ${nowThere(version)}`);
  }
}

/** Back to what was on the board before the last flash. @throws as `flash` */
export async function undoFlash(given: Omit<FlashOptions, 'order' | 'packageFor'>): Promise<FlashOutcome> {
  const options = { ...given, tell: discreet(given) };
  const { board, tell, isDryRun, newId } = options;
  const at = { standing: 'untouched' as keyof typeof STANDING };
  try {
    if (!board.isOffline) {
      const facts = await board.look(options);
      tell.step('Board', 'ok', boardText(facts));
      if (!facts.hasBefore && !facts.isUnfinished) {
        throw new GlasscastError('FLASH_FAILED', { reason: 'there is nothing to go back to on this board' });
      }
    }
    if (isDryRun) {
      tell.step('Undo', 'would', 'put back what was there before the last flash');
      return { outcome: 'dry-run', version: '' };
    }
    await board.put(applyScript(), { signal: options.signal, onProgress: () => {} });
    at.standing = 'applying';
    return await applied('undo', newId(), options);
  } catch (error) {
    throw await explained(error, STANDING[at.standing], options);
  }
}

/** What a board says may quote what it was given. */
function discreet({ tell, redactor, code }: Pick<FlashOptions, 'tell' | 'redactor' | 'code'>): FlashTeller {
  if (code !== undefined) redactor.add(code);
  return {
    step: (name, state, text) => tell.step(name, state, redactor.redact(text)),
    progress: (name, text, percent) => tell.progress(name, redactor.redact(text), percent),
  };
}

type Parts<Key extends keyof FlashOptions> = Pick<FlashOptions, Key>;

async function lookAt(board: Board, { tell, order, nowMs, signal }: FlashOptions): Promise<BoardFacts> {
  tell.progress('Board', `connecting to ${board.name}`, undefined);
  const facts = await board.look({ signal });
  const unfit = whyUnfit(facts, order.source, board.isOffline);
  if (unfit !== undefined) throw new GlasscastError('BOARD_UNFIT', { reason: unfit });
  tell.step('Board', 'ok', boardText(facts));
  for (const warning of warningsOf(facts, nowMs())) tell.step('Board', 'warning', warning);
  return facts;
}

async function takePackage({ architecture }: BoardFacts, { packageFor, tell }: FlashOptions): Promise<PackageFile> {
  tell.progress('Package', `for ${architecture}`, undefined);
  const taken = await packageFor(architecture);
  if (taken.architecture !== undefined && taken.architecture !== architecture) {
    const reason = `the package is for ${taken.architecture}, the board is ${architecture}`;
    throw new GlasscastError('BOARD_UNFIT', { reason });
  }
  tell.step('Package', 'ok', `${taken.version ?? taken.path}, ${megabytes(taken.bytes)}`);
  return taken;
}

/** An image is written today and boots some day; the relay gives no code for longer. */
const FIRST_BOOT_WITHIN_S = 604_800;
/** A slow line brings the package over in an hour, and the board may wait for another program's dpkg. */
const FLASHED_WITHIN_S = 7_200;

/** Of the package: itself, unpacked, and the one of before. */
const ROOM_FACTOR = 6;

function requireRoom({ freeBytes, flashed }: BoardFacts, { bytes }: PackageFile, { isOffline }: Board): void {
  const needed = bytes * (flashed ? ROOM_FACTOR / 2 : ROOM_FACTOR);
  if (isOffline || freeBytes >= needed) return;
  const reason = `it has ${megabytes(freeBytes)} free and needs ${megabytes(needed)}; make room on /var and /usr`;
  throw new GlasscastError('BOARD_UNFIT', { reason });
}

function isSame(facts: BoardFacts, order: FlashOrder, { code }: Parts<'code'>): boolean {
  const { flashed, isRunning, isUnfinished, isApplying } = facts;
  return (
    flashed?.fingerprint === fingerprintOf(order) && isRunning && !isUnfinished && !isApplying && code === undefined
  );
}

/** Undefined: the board is in already. */
async function codeFor({ hasToken, flashed }: BoardFacts, options: FlashOptions) {
  const { code, order, relay, board, redactor, tell } = options;
  if (code !== undefined) {
    tell.step('Code', 'ok', 'the one of GLASSCAST_ENROLMENT_CODE');
    return { code, cancel: async () => {} };
  }
  if (hasToken && flashed && flashed.user === order.user) {
    tell.step('Code', 'skipped', `the board is enrolled already${order.user ? ` for ${order.user}` : ''}`);
    return undefined;
  }
  if (relay === undefined || order.user === undefined) throw noWayIn();
  const made = await relay.enrol(
    order.user,
    board.name.slice(0, 60),
    board.isOffline ? FIRST_BOOT_WITHIN_S : FLASHED_WITHIN_S,
  );
  redactor.add(made.code);
  tell.step('Code', 'ok', `made for ${order.user}, good once${board.isOffline ? ', for a week' : ''}`);
  return made;
}

function noWayIn(): GlasscastError {
  const reason =
    'whose glasses are these? Give --email with GLASSCAST_ADMIN_TOKEN set, or a code in GLASSCAST_ENROLMENT_CODE';
  return new GlasscastError('INVALID_CONFIG', { reason });
}

async function upload(files: readonly BoardFile[], { board, tell, signal }: FlashOptions): Promise<void> {
  const total = files.reduce((sum, { bytes }) => sum + bytes, 0);
  let before = 0;
  for (const file of files) {
    const onProgress = (bytes: number) =>
      tell.progress('Upload', `${megabytes(before + bytes)} of ${megabytes(total)}`, ((before + bytes) / total) * 100);
    await board.put(file, { signal, onProgress });
    before += file.bytes;
  }
  tell.step('Upload', 'ok', `${megabytes(total)}, verified${board.isOffline ? '' : ' on the board'}`);
}

async function applied(
  word: 'apply' | 'undo',
  runId: string,
  options: Parts<'board' | 'tell' | 'signal'>,
): Promise<ApplyResult> {
  const { board, tell, signal } = options;
  const name = word === 'apply' ? 'Install' : 'Undo';
  const onLine = (line: string) => tell.progress(name, line, undefined);
  const result = await board.apply(word, { runId, signal, onLine });
  const { outcome, version, reason } = result;
  switch (outcome) {
    case 'flashed':
      tell.step(name, 'ok', `${version} runs, and is connected`);
      return result;
    case 'already':
      tell.step(name, 'ok', `${version} was there and runs`);
      return result;
    case 'armed':
      tell.step(name, 'ok', 'the board installs it at its first boot');
      return result;
    case 'undone':
      tell.step(name, 'ok', version ? `${version} is there again` : 'nothing of the agent is left on the board');
      return result;
    case 'rolled_back':
      throw failure(`${reason}; ${nowThere(version)}`);
    case 'refused':
      throw failure(`${reason}; nothing was changed on the board`);
    case 'broken':
      throw failure(`${reason}; a person has to look at the board, then "glasscast flash --undo" or flashing again`);
    default:
      throw outcome satisfies never;
  }
}

/** The board has told how it ended, or was never told to begin. */
const hasEnded = (error: unknown) => isGlasscastError(error) && error.code === 'FLASH_FAILED';
const nowThere = (version: string) => (version ? `${version} is there again` : 'nothing was left on the board');
const failure = (reason: string) => new GlasscastError('FLASH_FAILED', { reason });

/** @param version undefined: any */
async function prove(
  version: string | undefined,
  { relay, order, tell, signal, wantsTestStream, board }: FlashOptions,
): Promise<void> {
  const { user } = order;
  if (board.isOffline) return;
  if (relay === undefined || user === undefined) {
    tell.step(
      'Relay',
      'skipped',
      'needs GLASSCAST_ADMIN_TOKEN and --email: neither hello nor test stream were looked at',
    );
    return;
  }
  tell.progress('Relay', `waiting for the agent of ${user}`, undefined);
  tell.step('Relay', 'ok', await relay.awaitHello(user, version, signal));
  if (!wantsTestStream) {
    tell.step('Test stream', 'skipped', '--no-test-stream');
    return;
  }
  tell.progress('Test stream', 'starting', undefined);
  tell.step('Test stream', 'ok', await relay.testStream(user, signal));
}

function planned(
  facts: BoardFacts,
  order: FlashOrder,
  { board, code, relay, wantsTestStream, tell, run }: FlashOptions,
): FlashOutcome {
  const { hasToken, flashed, installedVersion } = facts;
  const isIn = code === undefined && hasToken && flashed?.user === order.user && flashed !== undefined;
  if (!isIn && code === undefined && (relay === undefined || order.user === undefined)) throw noWayIn();
  tell.step(
    'Code',
    'would',
    isIn ? 'use none: the board is enrolled' : code ? 'use the given one' : `ask the relay for one for ${order.user}`,
  );
  tell.step('Upload', 'would', `bring over ${megabytes(order.package.bytes)} and the settings, and verify them there`);
  if (board.isOffline) {
    tell.step('Install', 'would', 'make it ready to install all that at its first boot');
    return { outcome: 'dry-run', version: installedVersion ?? '' };
  }
  const before = installedVersion ? `keep ${installedVersion}` : 'keep that there was none';
  tell.step(
    'Install',
    'would',
    `${before}, install, start, and give the agent ${run.deadlineSeconds} s to prove itself; else put that back`,
  );
  const canAsk = relay !== undefined && order.user !== undefined;
  tell.step(
    'Relay',
    canAsk ? 'would' : 'skipped',
    canAsk ? `wait for the agent of ${order.user}` : 'needs GLASSCAST_ADMIN_TOKEN and --email',
  );
  if (canAsk && wantsTestStream)
    tell.step('Test stream', 'would', 'start a short stream, wait until it is live, and stop it');
  return { outcome: 'dry-run', version: installedVersion ?? '' };
}

/** The same failure in words that say where the board stands, with its own last words. Never with a secret. */
async function explained(
  error: unknown,
  standing: string,
  { board, signal, redactor, tell }: Parts<'board' | 'signal' | 'redactor' | 'tell'>,
): Promise<GlasscastError> {
  if (signal.aborted) return new GlasscastError('FLASH_FAILED', { reason: `stopped; ${standing}` });
  if (!isGlasscastError(error))
    return new GlasscastError('INTERNAL', { reason: redactor.redact(errorText(error)), cause: error });
  if (error.code === 'BOARD_UNREACHABLE' && standing !== STANDING.untouched) {
    return new GlasscastError('BOARD_UNREACHABLE', { reason: redactor.redact(`${reasonOf(error)}; ${standing}`) });
  }
  if (error.code !== 'FLASH_FAILED') return error;
  tell.progress('Board', 'asking for its last words', undefined);
  const said = standing === STANDING.untouched ? [] : await board.lastLines({ signal }).catch(() => []);
  const lines = said.map((line) => redactor.redact(line));
  const reason = redactor.redact(reasonOf(error));
  const next = nextAfter(reason);
  return new GlasscastError('FLASH_FAILED', { reason: next ? `${reason}. ${next}` : reason, details: { lines } });
}

/** What follows the table's sentence. */
const reasonOf = ({ message }: GlasscastError) => message.slice(message.indexOf(': ') + 2);

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
