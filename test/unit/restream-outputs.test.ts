import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { LiveInputOutput } from '../../cloud/provider/live-inputs.ts';
import { outputsFor } from '../../cloud/provider/output-views.ts';
import {
  createRestreaming,
  type RestreamingOptions,
  type RestreamOutputs,
} from '../../cloud/provider/restream-outputs.ts';
import { type ErrorCode, GlasscastError } from '../../shared/errors.ts';
import { createLog } from '../../shared/log.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import { createTestClock, settle } from '../support/test-clock.ts';

const KEY = 'a-very-secret-key';
const urlOf = (n: number | string) => `rtmp://live${n}.example/app/${KEY}${n}`;

/** A provider that keeps outputs, and answers as the test wants. */
function fakeProvider() {
  const provider = {
    kept: [] as (LiveInputOutput & { liveInputUid: string })[],
    calls: [] as string[],
    /** Taken by the next creations, in order. `lost`: it is made, and the answer gets lost. */
    creations: [] as (ErrorCode | 'lost' | 'ok' | Promise<unknown>)[],
    lists: [] as ErrorCode[],
    deletions: [] as (ErrorCode | Promise<unknown>)[],
    made: 0,
    async createOutput(liveInputUid: string, { url, streamKey }: { url: string; streamKey: Secret }) {
      provider.calls.push('create');
      const next = provider.creations.shift() ?? 'ok';
      if (next instanceof Promise) await next;
      else if (next !== 'ok' && next !== 'lost') {
        throw new GlasscastError(next, { reason: `it does not like ${url} ${streamKey.reveal()}` });
      }
      provider.made += 1;
      const output = { liveInputUid, uid: `o${provider.made}`, url, streamKey, enabled: true, state: undefined };
      provider.kept.push(output);
      if (next === 'lost') throw new GlasscastError('PROVIDER_UNREACHABLE');
      return output;
    },
    async outputs(liveInputUid: string) {
      provider.calls.push('list');
      const next = provider.lists.shift();
      if (next) throw new GlasscastError(next);
      return provider.kept.filter((output) => output.liveInputUid === liveInputUid).map((output) => ({ ...output }));
    },
    async deleteOutput(_liveInputUid: string, uid: string) {
      provider.calls.push(`delete ${uid}`);
      const next = provider.deletions.shift();
      if (next instanceof Promise) await next;
      else if (next) throw new GlasscastError(next);
      const before = provider.kept.length;
      provider.kept = provider.kept.filter((output) => output.uid !== uid);
      if (provider.kept.length === before) throw new GlasscastError('LIVE_INPUT_NOT_FOUND');
    },
    says(uid: string, state: string, reason?: string) {
      const output = provider.kept.find((one) => one.uid === uid);
      if (output) Object.assign(output, { state, reason });
    },
  };
  return provider;
}

function world(options: Partial<RestreamingOptions> = {}) {
  const clock = createTestClock();
  const provider = fakeProvider();
  const redactor = createRedactor();
  const lines: string[] = [];
  const log = createLog({
    program: 'test',
    level: 'debug',
    redactor,
    destination: { write: (l) => void lines.push(l) },
  });
  const forbidden = new Set<string>();
  const guard = {
    async check({ host }: { host: string }) {
      if (forbidden.has(host)) throw new GlasscastError('DESTINATION_FORBIDDEN');
    },
  };
  const restreaming = createRestreaming({ inputs: provider, guard, clock, log, redactor, pollMs: 5_000, ...options });
  const told: number[] = [];
  const begun: string[][] = [];
  function open(
    saved: Parameters<typeof restreaming.open>[0]['saved'] = [],
    liveInputUid = 'in1',
    unclear: { url: string }[] = [],
  ): RestreamOutputs {
    const outputs: RestreamOutputs = restreaming.open({
      ...{ streamId: 'm1', liveInputUid, saved, unclear },
      onChange: () => void told.push(outputs.list().length),
      onBegun: () => void begun.push(outputs.unfinished().map(({ destination }) => destination.url)),
    });
    return outputs;
  }
  return { clock, provider, redactor, lines, forbidden, restreaming, told, begun, open, outputs: open() };
}
const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => 'ok',
    (error) => error.code as string,
  );
const states = (outputs: RestreamOutputs) => outputs.list().map(({ state }) => state);

describe('at the start', () => {
  it('makes every output, keeps names, and tells once (defect 26)', async () => {
    const { outputs, provider, told } = world();
    await outputs.addAll('app.a', [{ url: urlOf(1), name: 'One' }, { url: urlOf(2) }]);
    expect(outputs.list()).toEqual([
      { outputId: 'o1', url: urlOf(1), name: 'One', addedBy: 'app.a', state: 'unknown' },
      { outputId: 'o2', url: urlOf(2), addedBy: 'app.a', state: 'unknown' },
    ]);
    expect(provider.kept.map(({ url, streamKey }) => [url, streamKey.reveal()])).toEqual([
      ['rtmp://live1.example:1935/app', `${KEY}1`],
      ['rtmp://live2.example:1935/app', `${KEY}2`],
    ]);
    expect(told).toEqual([2]);
    outputs.close();
  });
  it('says of each destination that is missing why, and has the others (defect 26)', async () => {
    const { outputs, provider, forbidden, told } = world();
    forbidden.add('live2.example');
    provider.creations.push('ok', 'PROVIDER_REJECTED');
    const destinations = [urlOf(1), urlOf(2), urlOf(3), 'http://x/app/key', 'nonsense', urlOf(1), urlOf(4)];
    await outputs.addAll(
      'app.a',
      destinations.map((url, index) => ({ url, name: `n${index}` })),
    );
    expect(outputs.list().map(({ name, state, error }) => [name, state, error?.split(':')[0]])).toEqual([
      ['n0', 'unknown', undefined],
      ['n1', 'error', 'This relay does not push to that address'],
      ['n2', 'error', 'The streaming provider rejected the request'],
      ['n3', 'error', expect.stringContaining('not a valid rtmp')],
      ['n4', 'error', expect.stringContaining('not a valid rtmp')],
      ['n5', 'error', 'The stream is pushed to this URL already'],
      ['n6', 'unknown', undefined],
    ]);
    expect(outputs.records().map(({ outputId }) => outputId)).toEqual(['o1', 'o2']);
    expect(told).toEqual([7]);
    outputs.close();
  });
  it('has the limits, the checks and the duplicates of the REST route (defect 27)', async () => {
    const { outputs, provider } = world();
    await outputs.addAll(
      'app.a',
      Array.from({ length: 15 }, (_, n) => ({ url: urlOf(n) })),
    );
    expect(provider.kept).toHaveLength(10);
    expect(outputs.list().filter(({ error }) => error?.includes('as many outputs as are allowed'))).toHaveLength(5);
    expect(await codeOf(outputs.add('app.b', { url: urlOf(99) }))).toBe('MAX_OUTPUTS_REACHED');
    outputs.close();
  });
  it('takes the same destinations of an app that comes back as the same ones', async () => {
    const { outputs, provider, forbidden } = world();
    forbidden.add('live2.example');
    const asked = [{ url: urlOf(1) }, { url: urlOf(2) }];
    await outputs.addAll('app.a', asked);
    forbidden.clear();
    await outputs.addAll('app.a', asked);
    expect(outputs.list().map(({ outputId, state }) => [outputId, state])).toEqual([
      ['o1', 'unknown'],
      ['o2', 'unknown'],
    ]);
    expect(provider.made).toBe(2);
    outputs.close();
  });
  it('is not held up by a destination whose check or creation takes long', async () => {
    const { outputs, provider } = world();
    let answer = (_: unknown) => {};
    provider.creations.push(new Promise((resolve) => (answer = resolve)));
    const adding = outputs.addAll('app.a', [{ url: urlOf(1) }, { url: urlOf(2) }]);
    await settle();
    expect(outputs.list().map(({ url }) => url)).toEqual([urlOf(2)]);
    answer(undefined);
    await adding;
    expect(outputs.list().map(({ url }) => url)).toEqual([urlOf(1), urlOf(2)]);
    outputs.close();
  });
});

describe('live, one at a time', () => {
  it('adds and removes, and only for the app that added it', async () => {
    const { outputs, provider } = world();
    const added = await outputs.add('app.a', { url: urlOf(1), name: 'One' });
    expect(added).toMatchObject({ outputId: 'o1', addedBy: 'app.a', name: 'One' });
    expect(await codeOf(outputs.remove('app.b', 'o1'))).toBe('NOT_AUTHORIZED');
    expect(await codeOf(outputs.remove('app.a', 'o7'))).toBe('OUTPUT_NOT_FOUND');
    await outputs.remove('app.a', 'o1');
    expect([outputs.list(), provider.kept]).toEqual([[], []]);
    expect(await codeOf(outputs.remove('app.a', 'o1'))).toBe('OUTPUT_NOT_FOUND');
    outputs.close();
  });
  it.each([
    ['rtmp://live1.example/app/key', 'RTMP://LIVE1.example:1935/app/key', 'DUPLICATE_URL'],
    ['rtmp://live1.example/app/key', 'rtmp://live1.example/app/KEY', 'ok'],
    ['rtmp://live1.example/app/key', 'rtmps://live1.example/app/key', 'ok'],
    ['rtmps://live1.example/app/key?a=b/c', 'rtmps://live1.example:443/app/key?a=b/c', 'DUPLICATE_URL'],
  ])('after %s, %s is %s', async (first, second, expected) => {
    const { outputs } = world();
    await outputs.add('app.a', { url: first });
    expect(await codeOf(outputs.add('app.b', { url: second }))).toBe(expected);
    outputs.close();
  });
  it('counts per app when that limit is the lower one', async () => {
    const { outputs } = world({ limits: { maxPerStream: 3, maxPerApp: 1 } });
    await outputs.add('app.a', { url: urlOf(1) });
    expect(await codeOf(outputs.add('app.a', { url: urlOf(2) }))).toBe('MAX_APP_OUTPUTS_REACHED');
    await outputs.add('app.b', { url: urlOf(2) });
    outputs.close();
  });
  it('keeps nothing of what the provider refuses, and what it could not remove', async () => {
    const { outputs, provider, told } = world();
    provider.creations.push('PROVIDER_RATE_LIMITED');
    expect(await codeOf(outputs.add('app.a', { url: urlOf(1) }))).toBe('PROVIDER_RATE_LIMITED');
    expect([outputs.list(), told]).toEqual([[], []]);
    await outputs.add('app.a', { url: urlOf(1) });
    provider.deletions.push('PROVIDER_FAILED');
    expect(await codeOf(outputs.remove('app.a', 'o1'))).toBe('PROVIDER_FAILED');
    expect(outputs.list()).toHaveLength(1);
    provider.kept = [];
    // Gone at the provider already: that is what was wanted.
    await outputs.remove('app.a', 'o1');
    expect(outputs.list()).toEqual([]);
    outputs.close();
  });
  it('cannot remove what is still being made, which has no id', async () => {
    const { outputs, provider } = world();
    let answer = (_: unknown) => {};
    provider.creations.push(new Promise((resolve) => (answer = resolve)));
    const adding = outputs.add('app.a', { url: urlOf(1) });
    await settle();
    expect(await codeOf(outputs.remove('app.a', ''))).toBe('OUTPUT_NOT_FOUND');
    answer(undefined);
    await adding;
    expect(outputs.list()).toMatchObject([{ outputId: 'o1' }]);
    outputs.close();
  });
  it('holds limits and duplicates for requests of the same instant', async () => {
    const { outputs, provider } = world();
    const codes = await Promise.all(
      Array.from({ length: 24 }, (_, n) => codeOf(outputs.add(n % 2 ? 'app.a' : 'app.b', { url: urlOf(n % 12) }))),
    );
    expect(codes.filter((code) => code === 'ok')).toHaveLength(10);
    expect(provider.kept).toHaveLength(10);
    outputs.close();
  });
  it('answers every call with the same code once the stream is over (defect 43)', async () => {
    const { outputs, provider } = world();
    await outputs.add('app.a', { url: urlOf(1) });
    let answer = (_: unknown) => {};
    provider.creations.push(new Promise((resolve) => (answer = resolve)));
    const late = codeOf(outputs.add('app.a', { url: urlOf(2) }));
    await settle();
    outputs.close();
    answer(undefined);
    expect(await late).toBe('STREAM_NOT_FOUND');
    expect(await codeOf(outputs.add('app.a', { url: urlOf(3) }))).toBe('STREAM_NOT_FOUND');
    expect(await codeOf(outputs.remove('app.a', 'o1'))).toBe('STREAM_NOT_FOUND');
    await settle();
    // What came too late to be cleaned up with its input.
    expect(provider.calls).toContain('delete o2');
  });
});

describe('a creation without a clear outcome', () => {
  it('is looked for before it is asked for again', async () => {
    const { outputs, provider } = world();
    provider.creations.push('lost');
    expect(await outputs.add('app.a', { url: urlOf(1) })).toMatchObject({ outputId: 'o1' });
    expect(provider.calls).toEqual(['create', 'list']);
    outputs.close();
  });
  it('is asked for once more when it is not there', async () => {
    const { outputs, provider } = world();
    provider.creations.push('PROVIDER_FAILED');
    expect(await outputs.add('app.a', { url: urlOf(1) })).toMatchObject({ outputId: 'o1' });
    expect(provider.calls).toEqual(['create', 'list', 'create']);
    outputs.close();
  });
  it('fails when nobody can say, and what turns up later is deleted', async () => {
    const { clock, outputs, provider } = world();
    provider.creations.push('lost');
    provider.lists.push('PROVIDER_UNREACHABLE');
    expect(await codeOf(outputs.add('app.a', { url: urlOf(1) }))).toBe('PROVIDER_UNREACHABLE');
    expect([outputs.list(), provider.kept.length]).toEqual([[], 1]);
    await clock.advance(5_000);
    expect(provider.kept).toEqual([]);
    await clock.advance(70_000);
    expect(clock.pending()).toEqual([]);
    outputs.close();
  });
  it('leaves no second one behind, and touches no output of other people', async () => {
    const { clock, outputs, provider } = world();
    provider.creations.push('PROVIDER_UNREACHABLE');
    await outputs.add('app.a', { url: urlOf(1) });
    // The first request comes to something after all; and somebody adds one of their own in the dashboard.
    await provider.createOutput('in1', { url: 'rtmp://live1.example/app', streamKey: new Secret(`${KEY}1`) });
    await provider.createOutput('in1', { url: 'rtmp://other.example/app', streamKey: new Secret('theirs') });
    await clock.advance(5_000);
    expect(provider.kept.map(({ uid }) => uid)).toEqual(['o1', 'o3']);
    outputs.close();
  });
});

describe('how they go', () => {
  it('is asked again and again, and told when it changes (defect 28)', async () => {
    const { clock, outputs, provider, told } = world();
    await outputs.addAll('app.a', [{ url: urlOf(1) }, { url: urlOf(2) }]);
    await clock.advance(5_000);
    expect(told).toHaveLength(1);
    provider.says('o1', 'connecting');
    provider.says('o2', 'connected');
    await clock.advance(5_000);
    expect(states(outputs)).toEqual(['disconnected', 'connected']);
    provider.says('o1', 'error', 'INGEST_REFUSED_KEY');
    await clock.advance(5_000);
    expect(outputsFor('app.b', outputs.list())).toEqual([
      { url: 'rtmp://live1.example', status: 'error', error: 'The ingest refused the stream key' },
      { url: 'rtmp://live2.example', status: 'active' },
    ]);
    expect(told).toHaveLength(3);
    outputs.close();
    await clock.advance(60_000);
    expect(clock.pending()).toEqual([]);
  });
  it('gets an error text after 30 s without a connection, and loses it with the connection', async () => {
    const { clock, outputs, provider } = world();
    await outputs.add('app.a', { url: urlOf(1) });
    provider.says('o1', 'reconnecting', 'INGEST_UNREACHABLE');
    await clock.advance(30_000);
    expect(outputs.list()[0]?.error).toBeUndefined();
    await clock.advance(5_000);
    expect(outputsFor('app.a', outputs.list())).toEqual([
      { url: urlOf(1), status: 'stopped', error: 'Not connected for 30 s: The ingest cannot be reached' },
    ]);
    provider.says('o1', 'connected');
    await clock.advance(5_000);
    expect(outputsFor('app.a', outputs.list())).toEqual([{ url: urlOf(1), status: 'active' }]);
    outputs.close();
  });
  it('survives a provider that does not answer or has lost it', async () => {
    const { clock, outputs, provider } = world();
    await outputs.add('app.a', { url: urlOf(1) });
    provider.says('o1', 'connected');
    provider.lists.push('PROVIDER_FAILED', 'PROVIDER_RATE_LIMITED');
    await clock.advance(15_000);
    expect(states(outputs)).toEqual(['connected']);
    provider.kept = [];
    await clock.advance(15_000);
    expect(outputs.list()[0]).toMatchObject({ state: 'error', error: expect.stringContaining('add it again') });
    await outputs.remove('app.a', 'o1');
    expect(await codeOf(outputs.add('app.a', { url: urlOf(1) }))).toBe('ok');
    outputs.close();
  });
  it('is not judged by an answer older than the last change', async () => {
    const { clock, outputs, provider, told } = world();
    await outputs.add('app.a', { url: urlOf(1) });
    let answer = (_: unknown) => {};
    const stale = provider.outputs;
    provider.outputs = async (uid) => {
      const before = await stale(uid);
      await new Promise((resolve) => (answer = resolve));
      return before;
    };
    await clock.advance(5_000);
    provider.outputs = stale;
    await outputs.add('app.a', { url: urlOf(2) });
    answer(undefined);
    await settle();
    expect(states(outputs)).toEqual(['unknown', 'unknown']);
    expect(told).toEqual([1, 2]);
    outputs.close();
  });
  it('is asked for in time while one app changes its outputs without end', async () => {
    const { clock, outputs, provider } = world();
    await outputs.add('app.a', { url: urlOf(1) });
    provider.says('o1', 'connected');
    for (let n = 2; n < 6; n += 1) {
      await clock.advance(2_000);
      const { outputId } = await outputs.add('app.b', { url: urlOf(n) });
      await outputs.remove('app.b', outputId);
    }
    expect(states(outputs)).toEqual(['connected']);
    outputs.close();
  });
  it('is asked for less often when all is well, and together within the bound', async () => {
    const { clock, outputs, provider, open } = world({ maxPollsPerSecond: 1 });
    await outputs.add('app.a', { url: urlOf(1) });
    provider.says('o1', 'connected');
    await clock.advance(5_000);
    provider.calls.length = 0;
    await clock.advance(60_000);
    expect(provider.calls).toEqual(['list', 'list', 'list', 'list']);
    const many = Array.from({ length: 40 }, (_, n) => open([], `in${n + 2}`));
    await Promise.all(many.map((one, n) => one.add('app.a', { url: urlOf(n) })));
    await clock.advance(41_000);
    provider.calls.length = 0;
    await clock.advance(60_000);
    expect(provider.calls.length).toBeLessThanOrEqual(60);
    expect(provider.calls.length).toBeGreaterThan(30);
    for (const one of [outputs, ...many]) one.close();
    expect(clock.pending()).toEqual([]);
  });
});

describe('over a restart of the relay', () => {
  it('goes on with what is at the provider', async () => {
    const { outputs, provider, open, lines } = world();
    await outputs.addAll('app.a', [{ url: urlOf(1), name: 'One' }, { url: 'nonsense' }]);
    outputs.close();
    outputs.close();
    const saved = outputs.records();
    expect(saved).toEqual([{ outputId: 'o1', url: urlOf(1), name: 'One', addedBy: 'app.a' }]);
    provider.says('o1', 'connected');
    const next = open(saved);
    await settle();
    expect(next.list()).toEqual([{ outputId: 'o1', url: urlOf(1), name: 'One', addedBy: 'app.a', state: 'connected' }]);
    expect(await codeOf(next.add('app.b', { url: urlOf(1) }))).toBe('DUPLICATE_URL');
    await next.remove('app.a', 'o1');
    expect(lines.join()).toContain('output-removed');
    next.close();
  });
});

describe('over a kill of the relay', () => {
  it('what is being asked for is known before it is made, so that it can be saved', async () => {
    const { outputs, provider, begun } = world();
    const calls: number[] = [];
    const create = provider.createOutput;
    provider.createOutput = (...asked) => {
      calls.push(begun.length);
      return create(...asked);
    };
    await outputs.add('app.a', { url: urlOf(1) });
    expect([calls, begun, outputs.unfinished()]).toEqual([[1], [[urlOf(1)]], []]);
    provider.creations.push('PROVIDER_REJECTED');
    await outputs.add('app.a', { url: urlOf(2) }).catch(() => {});
    expect(begun).toEqual([[urlOf(1)], [urlOf(2)], []]);
    outputs.close();
  });
  it.each([
    ['was made', ['list']],
    ['was not made', ['list', 'create']],
    ['was made, and cannot be looked for,', ['list', 'create', 'list', 'delete o1']],
  ])('what %s is there once', async (how, calls) => {
    const { provider, open, clock } = world();
    const [url, streamKey] = ['rtmp://live1.example:1935/app', new Secret(`${KEY}1`)];
    if (how !== 'was not made') await provider.createOutput('in2', { url, streamKey });
    if (how.includes('cannot')) provider.lists.push('PROVIDER_FAILED');
    provider.calls.length = 0;
    const next = open([], 'in2', [{ url: urlOf(1) }]);
    await next.addAll('app.a', [{ url: urlOf(1) }]);
    await clock.advance(5_000);
    expect(provider.calls.slice(0, calls.length)).toEqual(calls);
    expect(next.list()).toMatchObject([{ url: urlOf(1), outputId: provider.kept[0]?.uid, addedBy: 'app.a' }]);
    expect(provider.kept).toHaveLength(1);
    next.close();
  });
});

describe('keys', () => {
  it('are in no log line and in no other app’s eyes (defect 29)', async () => {
    const { clock, outputs, provider, lines, redactor } = world();
    provider.creations.push('ok', 'PROVIDER_REJECTED', 'lost');
    await outputs.addAll('app.a', [{ url: `${urlOf(1)}?token=${KEY}-query` }, { url: urlOf(2) }, { url: urlOf(3) }]);
    expect(await codeOf(outputs.add('app.b', { url: `rtmp://host/${KEY}` }))).toBe('INVALID_URL_FORMAT');
    provider.lists.push('PROVIDER_FAILED');
    await clock.advance(10_000);
    await outputs.remove('app.a', 'o1');
    expect(lines.length).toBeGreaterThan(3);
    expect(lines.join()).not.toContain(KEY);
    expect(JSON.stringify(outputsFor('app.b', outputs.list()))).not.toContain(KEY);
    expect(JSON.stringify(outputsFor('app.a', outputs.list()))).toContain(urlOf(3));
    expect(redactor.redact(`${KEY}3`)).toBe('***');
    outputs.close();
    expect(redactor.redact(`${KEY}3`)).toBe(`${KEY}3`);
  });
  it('stay hidden from others whatever the address looks like', () => {
    const host = fc.stringMatching(/^[a-z0-9.-]{1,20}$/);
    const rest = fc.stringMatching(/^[\w@:?/#=&.~-]{0,30}$/);
    fc.assert(
      fc.property(fc.constantFrom('rtmp', 'rtmps', 'http', ''), host, rest, (scheme, name, tail) => {
        const url = `${scheme}://user:pw-${KEY}@${name}/${tail}${KEY}`;
        const output = { outputId: 'o', url, addedBy: 'app.a', state: 'error' as const };
        const [seen] = outputsFor('app.b', [output]);
        expect(seen?.url).not.toContain(KEY);
        expect(outputsFor('app.a', [output])[0]?.url).toBe(url);
      }),
    );
  });
});

it('keeps to its rules in any order of adding, removing, failing and polling', async () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant('add' as const), app: fc.constantFrom('app.a', 'app.b'), n: fc.nat({ max: 14 }) }),
    fc.record({ do: fc.constant('remove' as const), app: fc.constantFrom('app.a', 'app.b'), n: fc.nat({ max: 14 }) }),
    fc.record({ do: fc.constant('start' as const), app: fc.constantFrom('app.a', 'app.b'), n: fc.nat({ max: 14 }) }),
    fc.record({ do: fc.constant('time' as const), app: fc.constant(''), n: fc.integer({ min: 1, max: 20_000 }) }),
    fc.record({ do: fc.constantFrom('lose' as const, 'fail' as const), app: fc.constant(''), n: fc.constant(0) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
      const { clock, outputs, provider } = world();
      const working: Promise<unknown>[] = [];
      for (const { do: what, app, n } of steps) {
        if (what === 'add') working.push(codeOf(outputs.add(app, { url: urlOf(n) })));
        if (what === 'start') working.push(outputs.addAll(app, [{ url: urlOf(n) }, { url: urlOf(n + 1) }]));
        if (what === 'remove') working.push(codeOf(outputs.remove(app, outputs.list()[n]?.outputId ?? 'none')));
        if (what === 'lose') provider.creations.push('lost');
        if (what === 'fail') provider.deletions.push('PROVIDER_FAILED');
        if (what === 'time') await clock.advance(n);
      }
      await Promise.all(working);
      await clock.advance(70_000);
      const present = outputs.records().map(({ outputId }) => outputId);
      expect(present.length).toBeLessThanOrEqual(10);
      expect(new Set(outputs.records().map(({ url }) => url)).size).toBe(present.length);
      expect(provider.kept.map(({ uid }) => uid).sort()).toEqual([...present].sort());
      outputs.close();
      expect(clock.pending()).toEqual([]);
    }),
    { numRuns: 150 },
  );
});
