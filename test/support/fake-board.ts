/** A board in memory for the engine: keeps what it is given, installs it or not, and fails or vanishes where it is told to. */
import type { ApplyResult, Board, BoardFacts } from '../../scripts/flash/board.ts';
import { GlasscastError } from '../../shared/errors.ts';

export interface FakeBoard extends Board {
  /** What a user would find there. */
  state: { version: string; settings: string };
  /** Names of calls, in order. */
  calls: string[];
  facts: Partial<BoardFacts>;
  /** Content by name, as text. */
  files: Map<string, string>;
}

export interface FakeBoardOptions {
  facts?: Partial<BoardFacts>;
  /** Of the board before. */
  version?: string;
  /** Called before each call, with its name and number: throws, or lets it pass. */
  trouble?: (name: string, call: number) => void;
  /** How apply.sh ends; default: flashed. */
  outcome?: ApplyResult['outcome'];
  reason?: string;
  lines?: string[];
}

const fitFacts: BoardFacts = {
  architecture: 'arm64',
  os: 'Debian GNU/Linux 12 (bookworm)',
  ...{ hasDpkg: true, hasSystemd: true, libcVersion: '2.36', freeBytes: 4e9, clockMs: undefined },
  ...{ cameras: ['/dev/video0'], soundCards: [], ffmpeg: undefined, installedVersion: undefined },
  ...{
    isRunning: false,
    hasToken: false,
    flashed: undefined,
    isUnfinished: false,
    isApplying: false,
    hasBefore: false,
  },
};

export function createFakeBoard(options: FakeBoardOptions = {}): FakeBoard {
  const { version = '', trouble = () => {}, outcome = 'flashed', reason = '', lines = [] } = options;
  const calls: string[] = [];
  const old = { version, settings: version && 'old' };
  let before = old;
  const called = (name: string) => {
    calls.push(name);
    trouble(name, calls.length);
  };
  const board: FakeBoard = {
    ...{ name: 'ada@board', isOffline: false, state: old, calls, files: new Map(), facts: options.facts ?? {} },
    async look() {
      called('look');
      return { ...fitFacts, installedVersion: board.state.version || undefined, ...board.facts };
    },
    async put({ name, content, bytes }, { onProgress }) {
      called(`put ${name}`);
      onProgress(bytes);
      board.files.set(name, content instanceof Uint8Array ? Buffer.from(content).toString() : content.path);
    },
    async apply(word, { runId, onLine }) {
      called(word);
      onLine('gate the agent proves itself');
      if (word === 'undo') {
        board.state = before;
        return { id: runId, outcome: 'undone', version: board.state.version, reason: '' };
      }
      if (!/^id=/m.test(board.files.get('new/options') ?? '') || !board.files.has('new/manifest')) {
        return {
          id: runId,
          outcome: 'refused',
          version: board.state.version,
          reason: 'what was brought over is not complete',
        };
      }
      if (outcome === 'flashed') {
        before = board.state;
        board.state = { version: '2.0.0', settings: board.files.get('new/settings') ?? '' };
      }
      called('applied');
      return { id: runId, outcome, version: board.state.version, reason };
    },
    async lastLines() {
      called('lastLines');
      return lines;
    },
    async close() {},
  };
  return board;
}

export const unreachable = () =>
  new GlasscastError('BOARD_UNREACHABLE', { reason: 'ada@board: the connection was lost' });
