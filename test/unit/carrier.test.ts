import { expect, it } from 'vitest';
import { createCarrier } from '../../cloud/cluster/carrier.ts';
import { createSessionRegistry } from '../../cloud/glasses/session-registry.ts';
import { createSqliteStore } from '../../cloud/store/sqlite-store.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';
import { createTestClock } from '../support/test-clock.ts';

const ADA = 'ada@example.com';

function world({ isEnding = false, store = createSqliteStore({ file: ':memory:' }) } = {}) {
  const clock = createTestClock();
  const done: string[] = [];
  const sessions = createSessionRegistry({
    ...{ clock, log: silentLog(), onDeviceState() {}, onNews() {}, onApp() {} },
    streams: {
      deviceStatus() {},
      keepAliveAck() {},
      glassesGone: () => void done.push('gone'),
      glassesBack() {},
      endUser: () => void done.push('user ended'),
    },
    onEnded: () => void done.push('session ended'),
  });
  const carrier = createCarrier({
    ...{ store, log: silentLog(), isEnding: () => isEnding, sessions },
    cleanup: { adopt: () => void done.push('ledger'), release: () => void done.push('ledger released') },
    streams: {
      resume: () => void done.push('streams'),
      handOver: async (_, { isLost }) => void done.push(`streams ${isLost ? 'lost' : 'saved'}`),
    },
    apps: {
      resume: async (userId) => void done.push(`apps of ${userId}`),
      handOver: async () => void done.push('apps sent away'),
      session: () => undefined,
    },
    rollouts: { agentGone: () => void done.push('agent gone') },
  });
  const closed: number[] = [];
  const socket = {
    isOpen: true,
    dialect: undefined,
    send: () => true,
    close: (code: number) => void closed.push(code),
  };
  sessions.open(ADA).attach(socket);
  return { clock, done, sessions, carrier, closed, socket };
}

it('adopts apps before streams, which look for their viewers among them', async () => {
  const { carrier, done } = world();
  await carrier.adopt(ADA);
  expect(done).toEqual([`apps of ${ADA}`, 'ledger', 'streams']);
});

it('that cannot adopt all of a session keeps nothing of it', async () => {
  const store = createSqliteStore({ file: ':memory:' });
  Object.assign(store.ledger, { of: () => Promise.reject(new GlasscastError('STORE_UNAVAILABLE')) });
  const { carrier, done, sessions } = world({ store });
  await expect(carrier.adopt(ADA)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
  expect(done.slice(1)).toEqual(['streams lost', 'ledger released', 'apps sent away', 'agent gone']);
  expect(sessions.all()).toEqual([]);
});

it.each([
  ['asked for by the node where the glasses are', { isEnding: false, isLost: false }, 4001],
  ['because this node ends', { isEnding: true, isLost: false }, 1012],
  ['because it was taken away', { isEnding: false, isLost: true }, 1012],
])(
  'hands over %s: nobody hears of an end, and nothing of the user is left',
  async (_why, { isEnding, isLost }, code) => {
    const { carrier, clock, closed, done, sessions, socket } = world({ isEnding });
    const session = sessions.get(ADA);
    await carrier.handOver(ADA, { isLost });
    expect(done).toEqual([`streams ${isLost ? 'lost' : 'saved'}`, 'ledger released', 'apps sent away', 'agent gone']);
    expect([closed, sessions.all(), clock.pending()]).toEqual([[code], [], []]);
    // Its last words come late.
    session?.detach(socket);
    session?.close(1000, 'late');
    expect([done.length, clock.pending()]).toEqual([4, []]);
  },
);
