import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GlasscastError } from '../../shared/errors.ts';
import { managedStreamRequest } from '../../shared/protocol/app-messages.ts';
import { deviceStatusWords } from '../../shared/stream.ts';
import { fakeViewer } from '../support/stream-fakes.ts';
import { STREAM, streamWorld } from '../support/stream-world.ts';
import { settle } from '../support/test-clock.ts';

describe('starting', () => {
  it('says initializing without addresses, sends START, and says active only once a picture is proven (defects 3, 4, 20)', async () => {
    const { stream, first, glasses, source, say, playback, begin, clock } = streamWorld({
      request: { quality: '1080p' },
    });
    await begin();
    expect(first.heard).toEqual([
      {
        type: 'managed_stream_status',
        status: 'initializing',
        streamId: STREAM,
        message: 'Waiting for stream to start...',
      },
    ]);
    expect(glasses.sent[0]).toEqual({
      type: 'start_stream',
      streamId: STREAM,
      publishUrl: `rtmp://127.0.0.1/live/key-of-${STREAM}`,
      appId: 'MANAGED_STREAM',
      sessionId: 'ada@example.com',
      video: { keyFrameIntervalMs: 1000, width: 1920, height: 1080 },
      audio: {},
      stream: {},
    });
    // The order: START, then the first keep-alive.
    expect(glasses.sent.map(({ type }) => type)).toEqual(['start_stream', 'keep_stream_alive']);
    await clock.advance(700);
    say('streaming');
    expect(playback.open()[0]?.hurried).toBe(true);
    expect(first.words()).toEqual(['initializing']);
    playback.prove();
    expect(first.last()).toEqual({
      type: 'managed_stream_status',
      status: 'active',
      streamId: STREAM,
      message: 'Stream is now live',
      hlsUrl: `http://x/${STREAM}.m3u8`,
      dashUrl: `http://x/${STREAM}.mpd`,
      thumbnailUrl: 'http://x/t.jpg',
      timeToLiveMs: 700,
    });
    expect(stream.snapshot()).toMatchObject({ state: 'active', startSentMs: 0, publishingMs: 700, liveMs: 700 });
    expect(source.discarded).toEqual([]);
  });

  it('asked values win over quality, and over the key frames of the provider', async () => {
    const { glasses, begin } = streamWorld({
      request: { quality: '720p', video: { width: 640, keyFrameIntervalMs: 500 } },
    });
    await begin();
    expect(glasses.sent[0]).toMatchObject({ video: { width: 640, keyFrameIntervalMs: 500 } });
  });

  it('lets others join: initializing while it starts, active at once when live (defect 2)', async () => {
    const { stream, begin, playback, say } = streamWorld();
    await begin();
    const early = fakeViewer('com.early');
    stream.join(early);
    expect(early.last()).toMatchObject({ status: 'initializing', streamId: STREAM });
    expect(early.last()?.hlsUrl).toBeUndefined();
    say('streaming');
    playback.prove();
    const late = fakeViewer('com.late');
    stream.join(late);
    expect(early.words()).toEqual(['initializing', 'active']);
    expect(late.words()).toEqual(['active']);
    expect(late.last()?.hlsUrl).toContain(STREAM);
  });

  it('gives each viewer 25 s of its own, and stops when none is left (defects 9, 59)', async () => {
    const { stream, begin, clock, first, ends, say, source } = streamWorld();
    await begin();
    await clock.advance(10_000);
    say('initializing');
    const second = fakeViewer('com.second');
    stream.join(second);
    await clock.advance(15_000);
    expect(first.last()).toMatchObject({ status: 'error', errorCode: 'START_TIMEOUT', streamId: STREAM });
    expect(second.words()).toEqual(['initializing']);
    say('initializing');
    await clock.advance(10_000);
    expect(second.last()).toMatchObject({ status: 'error' });
    expect(stream.isOpen()).toBe(false);
    expect(stream.snapshot().message).toBe(second.last()?.message);
    await clock.advance(5_000);
    expect([ends.length, source.discarded]).toEqual([1, [STREAM]]);
    expect(clock.pending()).toEqual([]);
  });

  it('tells of a failed creation and keeps nothing', async () => {
    const { stream, first, glasses, source, ends, clock } = streamWorld();
    stream.join(first);
    stream.begin();
    await settle();
    source.waiting[0]?.reject(new GlasscastError('PROVIDER_UNREACHABLE', { reason: 'ECONNREFUSED' }));
    await settle();
    expect(first.last()).toMatchObject({ status: 'error', errorCode: 'PROVIDER_UNREACHABLE' });
    expect([glasses.sent, source.discarded, ends.length]).toEqual([[], [STREAM], 1]);
    expect(clock.pending()).toEqual([]);
  });

  it('adds the destinations of each app once there is an ingest, and shows a key to its owner alone (defect 26)', async () => {
    const { stream, first, begin, say, playback, restreaming } = streamWorld();
    const second = fakeViewer('com.second');
    const url = 'rtmp://a.example/live/secret-key';
    stream.join(second, { restreamDestinations: [{ url, name: 'A' }] });
    expect(stream.outputs()).toBeUndefined();
    await begin();
    expect(restreaming.opened).toMatchObject([{ streamId: STREAM, liveInputUid: `uid-${STREAM}`, saved: [] }]);
    say('streaming');
    playback.prove();
    expect(second.last()).toMatchObject({ status: 'active', outputs: [{ url, name: 'A', status: 'stopped' }] });
    expect(first.last()).toMatchObject({ outputs: [{ url: 'rtmp://a.example', name: 'A', status: 'stopped' }] });
    const [opened] = restreaming.opened;
    if (opened?.list[0]) opened.list[0].state = 'connected';
    opened?.onChange();
    const updated = { status: 'active', message: 'Outputs updated', hlsUrl: expect.any(String) };
    expect(first.last()).toMatchObject({ ...updated, outputs: [{ url: 'rtmp://a.example', status: 'active' }] });
    expect(second.last()).toMatchObject({ ...updated, outputs: [{ url, status: 'active' }] });
    expect(JSON.stringify([first.heard, stream.snapshot()])).not.toContain('secret-key');
    stream.leave('com.first');
    stream.leave('com.second');
    expect(opened?.isClosed).toBe(true);
  });

  it('takes the last words of what ran before, which carry no id, for what they are (defects 7, 55)', async () => {
    const { stream, begin, first, ends, say } = streamWorld();
    await begin();
    stream.deviceStatus({ type: 'stream_status', status: 'stopped' });
    stream.deviceStatus({ type: 'stream_status', status: 'error', errorDetails: 'not_streaming' });
    expect([stream.isOpen(), first.words()]).toEqual([true, ['initializing']]);
    say('initializing');
    stream.deviceStatus({ type: 'stream_status', status: 'stopped' });
    expect([ends.length, first.last()?.status]).toEqual([1, 'stopped']);
  });

  it('leaves before the input exists: it is discarded when it comes, and no START goes out', async () => {
    const { stream, first, glasses, source, ends } = streamWorld();
    stream.join(first);
    stream.begin();
    expect(stream.leave('com.first')).toBe(true);
    await source.provide();
    await settle();
    expect([first.words(), glasses.sent, source.discarded, ends.length]).toEqual([
      ['initializing', 'stopped'],
      [],
      [STREAM],
      1,
    ]);
  });

  it('passes on what the glasses say is wrong, in their words and with our code (defects 6, 7)', async () => {
    const idless = streamWorld();
    await idless.begin();
    idless.stream.deviceStatus({ type: 'stream_status', status: 'error', errorDetails: 'no_wifi_connection' });
    expect(idless.first.last()).toMatchObject({
      status: 'error',
      message: 'no_wifi_connection',
      errorCode: 'DEVICE_REPORTED',
    });
    const coded = streamWorld();
    await coded.begin();
    coded.say('error', { errorDetails: 'Camera /dev/video9 not found', errorCode: 'CAMERA_NOT_FOUND' });
    expect(coded.first.last()).toMatchObject({ errorCode: 'CAMERA_NOT_FOUND' });
    const own = streamWorld();
    await own.goLive();
    const errorDetails = 'The camera was not found; plug it in or name another one: /dev/video7';
    own.say('error', { errorDetails, errorCode: 'CAMERA_NOT_FOUND' });
    expect(own.stream.snapshot().message).toBe(errorDetails);
    expect(coded.glasses.types()).toEqual(['start_stream']);
    expect(coded.ends.length).toBe(1);
  });
});

describe('while live', () => {
  it.each(['reconnecting', 'disconnected'] as const)('%s never reads as healthy (defect 5)', async (word) => {
    const { first, say, goLive, playback } = streamWorld();
    await goLive();
    say(word);
    expect(first.last()).toMatchObject({ status: 'preparing' });
    say('reconnected');
    playback.prove();
    expect(first.words()).toEqual(['initializing', 'active', 'preparing', 'active']);
  });

  it('what the ingest still had in hand does not revive a stream that reconnects', async () => {
    const { first, say, goLive, playback, clock } = streamWorld();
    await goLive();
    say('reconnecting');
    playback.prove();
    expect(first.last()?.status).toBe('preparing');
    await clock.advance(5_000);
    playback.prove();
    expect(first.last()?.status).toBe('active');
  });

  it('sees a frozen picture itself, and gives up after two minutes', async () => {
    const { first, goLive, clock, say, ends } = streamWorld();
    await goLive();
    await clock.advance(8_000);
    expect(first.last()).toMatchObject({ status: 'preparing', message: 'No new picture arrives' });
    for (let seconds = 0; seconds < 120; seconds += 10) {
      say('reconnecting');
      await clock.advance(10_000);
    }
    expect(first.last()).toMatchObject({ status: 'error', errorCode: 'STREAM_INTERRUPTED' });
    await clock.advance(5_000);
    expect(ends.length).toBe(1);
  });

  it('does not take key frames that are far apart for a stall', async () => {
    const { first, goLive, clock } = streamWorld({ request: { video: { keyFrameIntervalMs: 10_000 } } });
    await goLive();
    await clock.advance(29_000);
    expect(first.last()?.status).toBe('active');
    await clock.advance(1_000);
    expect(first.last()?.status).toBe('preparing');
  });

  it('sends statistics with all addresses, as statistics, and says no state twice (defect 8)', async () => {
    const { first, say, goLive } = streamWorld();
    await goLive();
    const count = first.heard.length;
    say('streaming');
    expect(first.heard.length).toBe(count);
    say('streaming', { stats: { bitrate: 1, fps: 30 }, resolvedConfig: { video: { fps: 30 } } });
    expect(first.last()).toMatchObject({
      status: 'active',
      hlsUrl: expect.stringContaining(STREAM),
      stats: { bitrate: 1, fps: 30 },
      resolvedConfig: { video: { frameRate: 30 } },
    });
    expect(first.importances.at(-1)).toBe('stats');
  });

  it('tells a step of the glasses once, as a state that no viewer loses, with its settings', async () => {
    const { first, say, goLive } = streamWorld();
    await goLive();
    const text = 'Uplink 0.78 Mbit/s under the 2.06 asked: picture goes to 0.52 Mbit/s, 1280x720, 30 frames/s';
    const stats = { bitrate: 700_000, fps: 30 };
    say('streaming', { stats, notice: { code: 'UPLINK_NARROW', text, numbers: { uplinkBps: 780_000 } } });
    expect(first.last()).toMatchObject({ status: 'active', message: text, stats });
    expect(first.importances.at(-1)).toBe('state');
    say('streaming', { stats, resolvedConfig: { video: { bitrate: 520_000 } } });
    expect(first.last()).toMatchObject({ status: 'active', resolvedConfig: { video: { bitrate: 520_000 } } });
    expect(first.last()?.message).not.toBe(text);
  });

  it.each([
    [
      'CAMERA_NOT_FOUND',
      'The camera was not found: /dev/video0',
      'The glasses are reconnecting: The camera was not found: /dev/video0',
    ],
    ['INGEST_DROPPED', 'The ingest closed the connection', 'The glasses are reconnecting'],
    [undefined, undefined, 'The glasses are reconnecting'],
  ])('says why the glasses reconnect when the reason is theirs: %s', async (errorCode, errorDetails, message) => {
    const { first, say, goLive } = streamWorld();
    await goLive();
    say('reconnecting', { ...(errorCode ? { errorCode, errorDetails } : {}) });
    expect(first.last()).toMatchObject({ status: 'preparing', message });
  });

  it('keeps asking every 15 s; three misses and no media end it, with a word to everybody (defect 12)', async () => {
    const { first, goLive, clock, glasses, stream } = streamWorld();
    const second = fakeViewer('com.second');
    await goLive();
    stream.join(second);
    await clock.advance(60_000);
    expect(glasses.keepAlives()).toBeGreaterThanOrEqual(3);
    for (const viewer of [first, second]) {
      expect(viewer.last()).toMatchObject({ status: 'error', errorCode: 'GLASSES_SILENT' });
    }
    expect(glasses.types().at(-1)).toBe('stop_stream');
  });

  it('waits 60 s for glasses that are away, with or without media, and no longer (defect 13)', async () => {
    const { first, stream, goLive, clock, glasses } = streamWorld();
    await goLive();
    await clock.advance(20_500);
    // Two questions are unanswered by now.
    glasses.isUp = false;
    stream.glassesGone();
    await clock.advance(59_900);
    expect(first.last()).toMatchObject({ status: 'preparing' });
    await clock.advance(100);
    expect(first.last()).toMatchObject({ status: 'error', errorCode: 'GLASSES_NOT_CONNECTED' });
    expect(clock.pending()).toEqual([]);
  });

  it('asks glasses that are back at once, and counts anew', async () => {
    const { stream, goLive, clock, glasses, playback } = streamWorld();
    await goLive();
    glasses.isUp = false;
    stream.glassesGone();
    await clock.advance(59_000);
    const asked = glasses.keepAlives();
    glasses.isUp = true;
    stream.glassesBack();
    expect(glasses.keepAlives()).toBe(asked + 1);
    stream.keepAliveAck({ streamId: STREAM, ackId: 'a' });
    playback.prove();
    for (let waitedMs = 0; waitedMs < 60_000; waitedMs += 5_000) {
      playback.advance();
      await clock.advance(5_000);
    }
    expect(stream.snapshot().state).toBe('active');
  });

  it('answers whoever joins while it is interrupted within 25 s; those who saw it wait on (defect 2)', async () => {
    const { first, stream, goLive, clock, say } = streamWorld();
    await goLive();
    say('reconnecting');
    const second = fakeViewer('com.second');
    stream.join(second);
    await clock.advance(24_900);
    expect(second.words()).toEqual(['preparing']);
    await clock.advance(200);
    expect(second.last()).toMatchObject({ status: 'error', errorCode: 'START_TIMEOUT' });
    expect(first.last()).toMatchObject({ status: 'preparing' });
  });

  it('says active once for each proof, whatever the device says beside it (defect 10)', async () => {
    const { first, goLive, say, playback } = streamWorld();
    await goLive();
    for (const word of ['active', 'streaming', 'reconnected', 'initializing'] as const) say(word);
    playback.advance();
    playback.prove();
    expect(first.words()).toEqual(['initializing', 'active']);
  });

  it('lives on for hours without a word, while media flows (defect 17)', async () => {
    const { first, goLive, clock, playback } = streamWorld();
    await goLive();
    for (let minutes = 0; minutes < 180; minutes += 0.1) {
      await clock.advance(6_000);
      playback.advance();
    }
    expect(first.words()).toEqual(['initializing', 'active']);
  });

  it('lives on as long as media flows, silent glasses or not', async () => {
    const { first, goLive, clock, glasses, playback, stream } = streamWorld();
    await goLive();
    glasses.isUp = false;
    for (let seconds = 0; seconds < 180; seconds += 2) {
      await clock.advance(2_000);
      playback.advance();
    }
    expect([stream.snapshot().state, first.words()]).toEqual(['active', ['initializing', 'active']]);
  });

  it('credits acknowledgements to their own stream only (defect 14)', async () => {
    const other = streamWorld();
    await other.goLive();
    for (let seconds = 0; seconds < 60; seconds += 5) {
      await other.clock.advance(5_000);
      other.stream.keepAliveAck({ streamId: 'mother', ackId: 'a1' });
    }
    expect(other.first.last()?.status).toBe('error');
    const own = streamWorld();
    await own.goLive();
    for (let seconds = 0; seconds < 100; seconds += 5) {
      await own.clock.advance(5_000);
      own.stream.keepAliveAck({ streamId: STREAM, ackId: 'a1' });
    }
    expect(own.stream.isOpen()).toBe(true);
  });

  it('takes a duration limit beyond what a timer holds for a long one', async () => {
    const request = managedStreamRequest.parse({ type: 'managed_stream_request', stream: { durationLimit: 1e10 } });
    expect(request.stream?.durationLimit).toBe(2_000_000);
  });

  it('stops at the duration limit', async () => {
    const { first, goLive, clock, playback, glasses } = streamWorld({ request: { stream: { durationLimit: 30 } } });
    await goLive();
    for (let seconds = 0; seconds < 30; seconds += 5) {
      playback.advance();
      await clock.advance(5_000);
    }
    expect(first.last()).toMatchObject({ status: 'stopped', message: 'The duration limit is reached' });
    expect(glasses.types()).toEqual(['start_stream', 'stop_stream']);
  });
});

describe('glasses that come and go', () => {
  it('START is wanted: sent when they return in time', async () => {
    const { begin, glasses, stream, clock } = streamWorld();
    glasses.isUp = false;
    await begin();
    expect(glasses.sent).toEqual([]);
    await clock.advance(8_000);
    glasses.isUp = true;
    stream.glassesBack();
    expect(glasses.types()).toEqual(['start_stream']);
  });

  it('and the deadline says who was missing', async () => {
    const { begin, glasses, clock, first } = streamWorld();
    glasses.isUp = false;
    await begin();
    await clock.advance(25_000);
    expect(first.last()).toMatchObject({ status: 'error', errorCode: 'GLASSES_NOT_CONNECTED' });
    expect(clock.pending()).toEqual([]);
  });

  it('are asked, not told again, while they know the stream; told again when they do not', async () => {
    const { goLive, glasses, stream, clock, playback } = streamWorld();
    await goLive();
    stream.glassesBack();
    stream.keepAliveAck({ streamId: STREAM, ackId: 'a' });
    await clock.advance(4_000);
    expect(glasses.types()).toEqual(['start_stream']);
    playback.advance();
    stream.glassesBack();
    await clock.advance(4_000);
    expect(glasses.types()).toEqual(['start_stream', 'start_stream']);
  });
});

describe('stopping', () => {
  it('says stopped at once and once, stops the device, waits for it, then lets go (defect 11)', async () => {
    const { goLive, stream, first, glasses, ends, source, clock, playback } = streamWorld();
    await goLive();
    expect(stream.leave('com.first')).toBe(true);
    expect(first.last()).toEqual({ type: 'managed_stream_status', status: 'stopped', streamId: STREAM });
    expect(stream.snapshot()).toMatchObject({ state: 'stopping', message: undefined });
    expect(glasses.types()).toEqual(['start_stream', 'stop_stream']);
    expect([ends.length, source.discarded]).toEqual([0, []]);
    // As old firmware does it: no id, and in the wrong order.
    stream.deviceStatus({ type: 'stream_status', status: 'stopped' });
    stream.deviceStatus({ type: 'stream_status', status: 'stopping' });
    expect([ends.length, source.discarded]).toEqual([1, [STREAM]]);
    expect(first.words().filter((word) => word === 'stopped').length).toBe(1);
    expect([clock.pending(), playback.open()]).toEqual([[], []]);
    expect(stream.leave('com.first')).toBe(false);
  });

  it('takes "not_streaming" for done, and waits 5 s at most', async () => {
    const idle = streamWorld();
    await idle.goLive();
    idle.stream.leave('com.first');
    idle.stream.deviceStatus({ type: 'stream_status', status: 'error', errorDetails: 'not_streaming' });
    expect(idle.ends.length).toBe(1);
    const mute = streamWorld();
    await mute.goLive();
    mute.stream.leave('com.first');
    await mute.clock.advance(4_999);
    expect(mute.ends.length).toBe(0);
    await mute.clock.advance(1);
    expect(mute.ends.length).toBe(1);
  });

  it('goes on for those who stay', async () => {
    const { goLive, stream, glasses, first } = streamWorld();
    await goLive();
    const second = fakeViewer('com.second');
    stream.join(second);
    stream.leave('com.first');
    expect(glasses.types()).toEqual(['start_stream']);
    expect([first.last()?.status, second.words()]).toEqual(['stopped', ['active']]);
  });

  it('ends for all when the glasses stop by themselves, and tells them nothing more', async () => {
    const { goLive, say, first, glasses, ends } = streamWorld();
    await goLive();
    say('stopped');
    expect(first.last()).toMatchObject({ status: 'stopped', message: 'The glasses stopped the stream' });
    expect([glasses.types(), ends.length]).toEqual([['start_stream'], 1]);
  });

  it('ignores the words of other streams', async () => {
    const { goLive, stream } = streamWorld();
    await goLive();
    expect(stream.deviceStatus({ type: 'stream_status', status: 'stopped', streamId: 'mold' })).toBe(false);
    expect(stream.isOpen()).toBe(true);
  });
});

describe('whatever happens', () => {
  const step = fc.oneof(
    fc.record({
      kind: fc.constant('device' as const),
      word: fc.constantFrom(...deviceStatusWords),
      hasId: fc.boolean(),
    }),
    fc.record({ kind: fc.constantFrom('join', 'leave', 'repeat'), who: fc.constantFrom('com.first', 'b', 'c') }),
    fc.record({ kind: fc.constantFrom('prove', 'advance', 'provide', 'refuse', 'back', 'down', 'up', 'fail', 'stop') }),
    fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 40_000 }) }),
  );
  it('no transition is refused, each viewer hears one last word, and nothing is left running', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const { stream, clock, glasses, source, playback, defects, ends, first } = streamWorld();
        const viewers = new Map([['com.first', first]]);
        stream.join(first);
        stream.begin();
        for (const taken of steps) {
          if (taken.kind === 'device' && 'word' in taken) {
            const id = taken.hasId ? { streamId: STREAM } : {};
            stream.deviceStatus({ type: 'stream_status', status: taken.word, ...id });
          } else if (taken.kind === 'wait' && 'ms' in taken) await clock.advance(taken.ms);
          else if ('who' in taken) {
            const { who } = taken;
            const viewer = viewers.get(who) ?? fakeViewer(who);
            viewers.set(who, viewer);
            if (taken.kind === 'leave') stream.leave(who);
            else if (taken.kind === 'repeat') stream.repeat(who);
            else if (stream.isOpen()) stream.join(viewer);
          } else if (taken.kind === 'prove') playback.prove();
          else if (taken.kind === 'advance') playback.advance();
          else if (taken.kind === 'provide') await source.provide();
          else if (taken.kind === 'refuse') source.waiting[0]?.reject(new GlasscastError('PROVIDER_FAILED'));
          else if (taken.kind === 'back') stream.glassesBack();
          else if (taken.kind === 'down') glasses.isUp = false;
          else if (taken.kind === 'up') glasses.isUp = true;
          else if (taken.kind === 'fail') stream.fail(new GlasscastError('GLASSES_NOT_CONNECTED'));
          else stream.stop();
          await settle();
        }
        stream.stop();
        await clock.advance(10_000);
        expect(defects).toEqual([]);
        expect(ends.length).toBe(1);
        expect(source.discarded).toEqual([STREAM]);
        expect(clock.pending()).toEqual([]);
        expect(playback.open()).toEqual([]);
        for (const viewer of viewers.values()) {
          if (viewer.heard.length > 0) expect(['stopped', 'error']).toContain(viewer.last()?.status);
          for (const { status, hlsUrl, dashUrl } of viewer.heard) {
            expect(Boolean(hlsUrl && dashUrl)).toBe(status === 'active');
          }
        }
      }),
      { numRuns: 60 },
    );
  });
});
