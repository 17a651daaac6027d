import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  observedApi,
  observedPlayback,
  observedStore,
  observedWebhook,
  providerOperationOf,
  providerOperations,
} from '../../cloud/metrics/observed-parts.ts';
import type { PlaybackEvents } from '../../cloud/provider/playback.ts';
import { createSqliteStore } from '../../cloud/store/sqlite-store.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { createTestClock } from '../support/test-clock.ts';

describe('observed parts', () => {
  it('a store answers as the one it is made of, and its calls are told', async () => {
    const calls: unknown[] = [];
    const inner = createSqliteStore({ file: ':memory:' });
    const store = observedStore(inner, createTestClock(), (kind, operation, { code }) => {
      calls.push([kind, operation, code]);
    });
    expect(await store.values.add({ name: 'a', value: '1' })).toBe(true);
    expect(await store.values.add({ name: 'a', value: '2' })).toBe(false);
    await store.values.put({ name: 'b', value: '3' });
    expect(await store.values.get('a')).toEqual({ name: 'a', value: '1' });
    expect(await store.values.all()).toHaveLength(2);
    expect(await store.tokens.of('ada@example.com')).toEqual([]);
    expect(await store.values.delete('a')).toBe(true);
    await store.close();
    await expect(store.values.get('b')).rejects.toThrow();
    expect(calls).toEqual([
      ...[
        ['values', 'add', undefined],
        ['values', 'add', undefined],
        ['values', 'put', undefined],
        ['values', 'get', undefined],
      ],
      ['values', 'all', undefined],
      ['tokens', 'of', undefined],
      ['values', 'delete', undefined],
      ['values', 'get', 'INTERNAL'],
    ]);
  });

  it('a provider call is told by its operation, its time and its code', async () => {
    const clock = createTestClock();
    const calls: unknown[] = [];
    const api = observedApi(
      {
        async call({ path }) {
          await clock.sleep(50);
          if (path === '/storage-usage') throw new GlasscastError('PROVIDER_FAILED');
          return path;
        },
        close() {},
      },
      clock,
      (operation, end) => calls.push([operation, end]),
    );
    const good = api.call({ method: 'POST', path: '/live_inputs' });
    await clock.advance(50);
    expect(await good).toBe('/live_inputs');
    const bad = api.call({ method: 'GET', path: '/storage-usage' });
    const refused = expect(bad).rejects.toMatchObject({ code: 'PROVIDER_FAILED' });
    await clock.advance(50);
    await refused;
    expect(calls).toEqual([
      ['live_input_create', { ms: 50, code: undefined }],
      ['storage_usage', { ms: 50, code: 'PROVIDER_FAILED' }],
    ]);
  });

  it.each([
    ['GET', '/live_inputs', 'live_inputs_list'],
    ['GET', '/live_inputs/0123', 'live_input_read'],
    ['PUT', '/live_inputs/0123', 'live_input_change'],
    ['DELETE', '/live_inputs/0123', 'live_input_delete'],
    ['GET', '/live_inputs/0123/outputs', 'outputs_list'],
    ['POST', '/live_inputs/0123/outputs', 'output_create'],
    ['DELETE', '/live_inputs/0123/outputs/4567', 'output_delete'],
    ['GET', '?search=a', 'videos_list'],
    ['GET', '/live_inputs/0123/videos', 'videos_list'],
    ['DELETE', '/0123', 'video_delete'],
    ['GET', '/storage-usage', 'storage_usage'],
  ] as const)('%s %s is %s', (method, path, operation) => {
    expect(providerOperationOf({ method, path })).toBe(operation);
  });

  it('whatever is called has a word of the list, or is other', () => {
    const method = fc.constantFrom('GET', 'POST', 'PUT', 'DELETE');
    const known = new Set<string>([...providerOperations, 'other']);
    fc.assert(
      fc.property(method, fc.oneof(fc.string(), fc.webPath()), (verb, path) => {
        expect(known.has(providerOperationOf({ method: verb, path }))).toBe(true);
      }),
    );
  });

  it('a webhook is told by its outcome', async () => {
    const calls: unknown[] = [];
    const accepted = async () => ({ kind: 'accepted' }) as const;
    const webhook = observedWebhook(
      { start: accepted, stop: async () => ({ kind: 'rejected', status: 500 }), photoFailed: accepted },
      createTestClock(),
      (...call) => calls.push(call),
    );
    const { signal } = new AbortController();
    await webhook.start('http://a', { sessionId: 's', userId: 'u', appSocketUrl: 'ws://r' }, signal);
    expect(await webhook.stop('http://a', { sessionId: 's', userId: 'u', reason: 'r' }, signal)).toMatchObject({
      status: 500,
    });
    expect(calls).toEqual([
      ['start', 0, 'accepted'],
      ['stop', 0, 'rejected'],
    ]);
  });

  it('a proof of a picture is timed from the moment when media was expected, and told once', async () => {
    const clock = createTestClock();
    const proofs: unknown[] = [];
    const looking: PlaybackEvents[] = [];
    const playback = observedPlayback(
      {
        watch(_target, events) {
          looking.push(events);
          return { hurry() {}, close() {} };
        },
      },
      clock,
      (...proof) => proofs.push(proof),
    );
    const told: string[] = [];
    const events = { live: () => void told.push('live'), advanced: () => void told.push('advanced') };
    const target = { streamId: 's', hlsUrl: 'http://h', dashUrl: 'http://d' };
    const watch = playback.watch(target, events);
    watch.hurry();
    await clock.advance(700);
    looking[0]?.live();
    looking[0]?.advanced();
    watch.close();
    playback.watch(target, events).close();
    const given = playback.watch(target, events);
    given.hurry();
    given.close();
    expect(told).toEqual(['live', 'advanced']);
    expect(proofs).toEqual([
      ['proven', 700],
      ['given_up', 0],
    ]);
  });
});
