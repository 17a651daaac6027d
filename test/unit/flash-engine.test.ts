/** The order of a flash, what is told of it, and that no failure leaves anything but the old or the new. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type FlashOptions, flash, type StepState, undoFlash } from '../../scripts/flash/engine.ts';
import { fingerprintOf } from '../../scripts/flash/flash-order.ts';
import type { RelaySide } from '../../scripts/flash/relay-side.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import { createFakeBoard, type FakeBoard, type FakeBoardOptions, unreachable } from '../support/fake-board.ts';

const CODE = 'WXYZ-1234-SECRET';
const packageFile = {
  path: '/tmp/x.deb',
  bytes: 50_000_000,
  sha256: 'a'.repeat(64),
  version: '2.0.0',
  architecture: 'arm64',
} as const;
const order = {
  settings: 'GLASSCAST_AGENT_SOURCE="v4l2:auto"\n',
  releaseKeys: new Map(),
  user: 'ada@example.com',
  source: 'v4l2:auto',
};
const fingerprint = fingerprintOf({ ...order, package: packageFile });

function world(boardOptions: FakeBoardOptions = {}, more: Partial<FlashOptions> = {}) {
  const board = createFakeBoard(boardOptions);
  const told: { name: string; state: StepState; text: string }[] = [];
  const passing: string[] = [];
  const relayCalls: string[] = [];
  const relay: RelaySide = {
    async enrol(user) {
      relayCalls.push(`enrol ${user}`);
      return { code: new Secret(CODE), cancel: async () => void relayCalls.push('cancel') };
    },
    awaitHello: async (user, version) => `${user}, version ${version}`,
    testStream: async () => 'live after 1.0 s',
  };
  const options: FlashOptions = {
    ...{ board, order, relay, code: undefined, wantsTestStream: true, isDryRun: false },
    packageFor: async () => packageFile,
    run: { deadlineSeconds: 120, gate: 'agent' },
    newId: () => 'run-1',
    nowMs: () => 1_700_000_000_000,
    tell: {
      step: (name, state, text) => void told.push({ name, state, text }),
      progress: (name, text) => void passing.push(`${name} ${text}`),
    },
    redactor: createRedactor(),
    signal: new AbortController().signal,
    ...more,
  };
  return { board, told, passing, relayCalls, relay, options };
}

const failureOf = (work: Promise<unknown>): Promise<GlasscastError> =>
  work.then(
    () => {
      throw new Error('it did not fail');
    },
    (error: GlasscastError) => error,
  );

describe('flash', () => {
  it('looks, takes the package, asks for a code, uploads, applies, waits for the hello and streams', async () => {
    const { options, told, board, relayCalls } = world();
    expect(await flash(options)).toMatchObject({ outcome: 'flashed', version: '2.0.0' });
    expect(told.map(({ name, state }) => `${name} ${state}`)).toEqual(
      ['Board', 'Package', 'Code', 'Upload', 'Install', 'Relay', 'Test stream'].map((name) => `${name} ok`),
    );
    expect(board.calls.filter((call) => call.startsWith('put')).at(-1)).toBe('put new/manifest');
    expect(relayCalls).toEqual(['enrol ada@example.com']);
    expect(board.files.get('new/enrolment-code')).toBe(`${CODE}\n`);
    expect(board.files.get('new/settings')).not.toContain(CODE);
  });

  it('only looks in a dry run', async () => {
    const { options, board, relayCalls, told } = world({}, { isDryRun: true });
    expect(await flash(options)).toMatchObject({ outcome: 'dry-run' });
    expect(board.calls).toEqual(['look']);
    expect(relayCalls).toEqual([]);
    expect(told.filter(({ state }) => state === 'would').map(({ name }) => name)).toEqual([
      'Code',
      'Upload',
      'Install',
      'Relay',
      'Test stream',
    ]);
  });

  it('changes nothing when the same was flashed and runs', async () => {
    const facts = { flashed: { fingerprint, user: 'ada@example.com' }, isRunning: true, hasToken: true };
    const { options, board, relayCalls } = world({ version: '2.0.0', facts });
    expect(await flash(options)).toEqual({ outcome: 'already', version: '2.0.0' });
    expect(board.calls).toEqual(['look']);
    expect(relayCalls).toEqual([]);
  });

  it.each([
    ['it does not run', { isRunning: false }],
    ['a flash was cut', { isUnfinished: true }],
    ['one is under way', { isApplying: true }],
    ['it was another one', { flashed: { fingerprint: 'b', user: 'ada@example.com' } }],
  ])('flashes again when %s, without another code', async (_, facts) => {
    const same = { flashed: { fingerprint, user: 'ada@example.com' }, isRunning: true, hasToken: true, ...facts };
    const { options, board, relayCalls } = world({ version: '1.0.0', facts: same });
    expect((await flash(options)).outcome).toBe('flashed');
    expect(board.files.has('new/enrolment-code')).toBe(false);
    expect(relayCalls).toEqual([]);
  });

  it.each<[string, FakeBoardOptions['facts'], string]>([
    ['no systemd', { hasSystemd: false }, 'systemd does not run there'],
    ['no dpkg', { hasDpkg: false }, 'it has no dpkg'],
    ['an old glibc', { libcVersion: '2.24' }, 'glibc 2.24; glibc 2.28 or newer'],
    ['another C library', { libcVersion: undefined }, 'not glibc'],
    ['no camera', { cameras: [] }, 'it has no camera'],
    ['a root that cannot be written to', { readOnlyFolders: ['/usr'] }, 'its /usr cannot be written to'],
    ['no room', { freeBytes: 10e6 }, 'it has 10 MB free and needs 300 MB'],
    ['another architecture', { architecture: 'amd64' }, 'the package is for arm64, the board is amd64'],
  ])('refuses a board with %s before anything is changed', async (_, facts, reason) => {
    const { options, board } = world({ facts: facts ?? {} });
    const failure = await failureOf(flash(options));
    expect([failure.code, failure.message]).toEqual(['BOARD_UNFIT', expect.stringContaining(reason)]);
    expect(board.calls).toEqual(['look']);
  });

  it('says how a board is let in when nobody told', async () => {
    const { options, board } = world({}, { relay: undefined });
    expect((await failureOf(flash(options))).message).toContain('GLASSCAST_ENROLMENT_CODE');
    expect(board.calls).toEqual(['look']);
  });

  it('passes over hello and stream when the relay cannot be asked', async () => {
    const { options, told } = world({}, { relay: undefined, code: new Secret(CODE) });
    await flash(options);
    expect(told.at(-1)).toMatchObject({ name: 'Relay', state: 'skipped' });
  });

  it('tells why the board rolled back, and its last words without secrets', async () => {
    const reason = 'the agent does not reach the relay: no such host';
    const { options } = world({ version: '1.0.0', outcome: 'rolled_back', reason, lines: [`spent ${CODE}`] });
    const failure = await failureOf(flash(options));
    expect(failure.message).toBe(
      `The board was not flashed: ${reason}; 1.0.0 is there again. See that the board reaches the relay: name it with --agent-relay-url as seen from there`,
    );
    expect(failure.details.lines).toEqual(['spent ***']);
  });

  it.each(['awaitHello', 'testStream'] as const)('takes the new version back when %s fails', async (name) => {
    const { options, board, relay, told } = world({ version: '1.0.0' });
    relay[name] = async () => {
      throw new GlasscastError('FLASH_FAILED', { reason: 'it did not come' });
    };
    expect((await failureOf(flash(options))).message).toBe(
      'The board was not flashed: it did not come; 1.0.0 is there again',
    );
    expect(board.state.version).toBe('1.0.0');
    expect(told.slice(-2).map(({ name: step, state }) => [step, state])).toEqual([
      ['Relay', 'failed'],
      ['Undo', 'ok'],
    ]);
  });

  it('leaves a proven version when the relay goes away', async () => {
    const { options, board, relay } = world({ version: '1.0.0' });
    relay.awaitHello = async () => {
      throw new GlasscastError('RELAY_UNREACHABLE');
    };
    expect((await failureOf(flash(options))).code).toBe('RELAY_UNREACHABLE');
    expect(board.state.version).toBe('2.0.0');
  });

  it('gives the code back when it was brought nowhere', async () => {
    const trouble = (name: string) => {
      if (name === 'put new/package.deb') throw unreachable();
    };
    const { options, relayCalls } = world({ trouble });
    expect((await failureOf(flash(options))).message).toContain('the same command goes on where the upload was');
    expect(relayCalls).toEqual(['enrol ada@example.com', 'cancel']);
  });

  it.each(['rolled_back', 'refused'] as const)('gives an unspent code back when the board has %s', async (outcome) => {
    const { options, relayCalls } = world({ outcome, reason: 'it is sick' });
    await failureOf(flash(options));
    expect(relayCalls).toEqual(['enrol ada@example.com', 'cancel']);
  });

  it('leaves the code to a board that goes on by itself', async () => {
    const trouble = (name: string) => {
      if (name === 'applied') throw unreachable();
    };
    const { options, relayCalls } = world({ trouble });
    await failureOf(flash(options));
    expect(relayCalls).toEqual(['enrol ada@example.com']);
  });

  it('takes a board that was updated since for flashed', async () => {
    const facts = { flashed: { fingerprint, user: 'ada@example.com' }, isRunning: true, hasToken: true };
    const asked: unknown[] = [];
    const { options, relay } = world({ version: '2.0.0', facts });
    relay.awaitHello = async (_, version) => {
      asked.push(version);
      return 'version 2.1.0';
    };
    expect((await flash(options)).outcome).toBe('already');
    expect(asked).toEqual([undefined]);
  });

  it('undoes, and says when there is nothing to undo', async () => {
    const { options, board } = world({ version: '1.0.0', facts: { hasBefore: true } });
    expect((await undoFlash(options)).outcome).toBe('undone');
    expect(board.calls).toEqual(['look', 'put apply.sh', 'undo']);
    const other = world({ version: '1.0.0' });
    expect((await failureOf(undoFlash(other.options))).message).toContain('nothing to go back to');
    const dry = world({ version: '1.0.0', facts: { hasBefore: true } }, { isDryRun: true });
    await undoFlash(dry.options);
    expect(dry.board.calls).toEqual(['look']);
  });
});

describe('a flash that fails at any call', () => {
  const failures: [string, (stopping: AbortController) => Error][] = [
    ['the line is lost', unreachable],
    ['the board fails', () => new GlasscastError('FLASH_FAILED', { reason: `no room for ${CODE}` })],
    ['something is wrong with us', () => new Error(`a defect with ${CODE}`)],
    [
      'the person stops it',
      (stopping) => {
        stopping.abort(new Error('stopped'));
        return new Error('stopped');
      },
    ],
  ];
  const isOldOrNew = ({ state }: FakeBoard, version: string) =>
    (state.version === version && state.settings === (version && 'old')) ||
    (state.version === '2.0.0' && state.settings === order.settings);

  it.each(failures)(
    'leaves the old or the new, tells no secret, and comes to its end the next time: %s',
    async (_, make) => {
      await fc.assert(
        fc.asyncProperty(fc.integer({ min: 1, max: 12 }), fc.constantFrom('', '1.0.0'), async (at, version) => {
          const stopping = new AbortController();
          let isTroubled = true;
          const trouble = (_name: string, call: number) => {
            if (isTroubled && call === at) throw make(stopping);
          };
          const { options, board, told, passing } = world({ version, trouble }, { signal: stopping.signal });
          const failure = await flash(options).catch((error: GlasscastError) => error);
          expect(isOldOrNew(board, version)).toBe(true);
          const text = JSON.stringify([told, passing, failure instanceof Error ? [failure.message, failure] : failure]);
          // At the first call nobody knows a code.
          if (at > 1) expect(text).not.toContain(CODE);
          isTroubled = false;
          await flash({ ...options, signal: new AbortController().signal });
          expect(board.state).toEqual({ version: '2.0.0', settings: order.settings });
        }),
        { numRuns: 60 },
      );
    },
  );

  it('says where the board stands', async () => {
    for (const [name, standing] of [
      ['look', undefined],
      ['put new/package.deb', 'goes on where the upload was'],
      ['applied', 'the board goes on by itself'],
    ] as const) {
      const trouble = (call: string) => {
        if (call === name) throw unreachable();
      };
      const { message } = await failureOf(flash(world({ trouble }).options));
      expect(message).toContain(standing ?? 'the connection was lost');
    }
  });
});
