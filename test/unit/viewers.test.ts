import { expect, it } from 'vitest';
import { createViewers } from '../../cloud/streams/viewers.ts';
import { fakeViewer } from '../support/stream-fakes.ts';
import { createTestClock } from '../support/test-clock.ts';

const status = (word: 'preparing' | 'stopped') => ({ type: 'managed_stream_status', status: word }) as const;

it('remembers nothing of viewers that are gone (defect 19)', async () => {
  const clock = createTestClock();
  const late: string[] = [];
  const viewers = createViewers({ clock, patienceMs: 1_000, onLate: (id) => void late.push(id) });
  for (let index = 0; index < 100; index += 1) {
    const viewer = fakeViewer(`com.v${index}`);
    viewers.add(viewer, { requestedAtMs: clock.now(), isWaiting: true });
    viewers.tellAll(() => status('preparing'), 'state');
    viewers.tellAll(() => status('preparing'), 'state');
    expect(viewer.words()).toEqual(['preparing']);
    expect(viewers.dismiss(viewer.id, status('stopped'))).toBe(true);
    expect(viewers.dismiss(viewer.id, status('stopped'))).toBe(false);
    expect(viewer.words()).toEqual(['preparing', 'stopped']);
  }
  expect([viewers.size, viewers.ids(), clock.pending()]).toEqual([0, [], []]);
  await clock.advance(10_000);
  expect(late).toEqual([]);
});
