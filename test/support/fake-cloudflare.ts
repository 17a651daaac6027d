/**
 * Cloudflare's API as far as clean-up needs it, in memory, behind `fetch`: keys of creation, recordings that outlive
 * their input, conflicts while live, lists without a cursor. Knows nothing of media.
 */
import type { Clock } from '../../shared/clock.ts';

interface FakeInput {
  uid: string;
  body: { meta?: object; recording?: object; deleteRecordingAfterDays?: number };
  createdAtMs: number;
  enabled: boolean;
  outputs: string[];
}
interface FakeVideo {
  uid: string;
  liveInput: string;
  /** Listed from then on. */
  seenFromMs: number;
  /** Undefined: live. */
  landedAtMs: number | undefined;
}

/** @param landingMs from the end of a broadcast until its recording can be deleted. */
export function createFakeCloudflare({ clock, landingMs = 20_000 }: { clock: Clock; landingMs?: number }) {
  const inputs = new Map<string, FakeInput>();
  const videos = new Map<string, FakeVideo>();
  const keys = new Map<string, string>();
  let made = 0;

  const answer = (status: number, code: number | undefined, result: unknown = null) =>
    new Response(
      JSON.stringify({ success: status < 300, errors: code ? [{ code, message: 'no' }] : [], messages: [], result }),
      { status },
    );
  const done = (result: unknown = {}) => answer(200, undefined, result);
  const missing = () => answer(404, 10003);
  const listed = ({ uid, body, createdAtMs, enabled }: FakeInput) => ({
    ...{ uid, enabled, meta: body.meta },
    created: new Date(createdAtMs).toISOString(),
  });
  const whole = (input: FakeInput) => ({
    ...listed(input),
    ...input.body,
    rtmps: { url: 'rtmps://live.example:443/live/', streamKey: `${'f'.repeat(32)}k${input.uid}` },
    webRTCPlayback: { url: `https://customer-x.example/${input.uid}/webRTC/play` },
    status: null,
  });
  const recordingsOf = (uid: string) =>
    [...videos.values()]
      .filter((video) => video.liveInput === uid && video.seenFromMs <= clock.now())
      .map(({ uid: id, landedAtMs, liveInput }) => ({
        ...{ uid: id, liveInput },
        status: { state: (landedAtMs ?? Infinity) > clock.now() ? 'live-inprogress' : 'ready' },
      }));

  function end(uid: string): void {
    for (const video of videos.values()) if (video.liveInput === uid) video.landedAtMs ??= clock.now() + landingMs;
  }
  function create(body: FakeInput['body'], key: string | undefined): Response {
    const former = key === undefined ? undefined : keys.get(key);
    if (former !== undefined) {
      const input = inputs.get(former);
      return input ? done(whole(input)) : answer(409, 10005);
    }
    made += 1;
    const uid = `input-${made}`;
    const input = { uid, body, createdAtMs: clock.now(), enabled: true, outputs: [] };
    inputs.set(uid, input);
    if (key !== undefined) keys.set(key, uid);
    return done(whole(input));
  }
  function removeVideo(uid: string): Response {
    const video = videos.get(uid);
    if (!video || video.seenFromMs > clock.now()) return missing();
    if ((video.landedAtMs ?? Infinity) > clock.now()) return answer(409, 10046);
    videos.delete(uid);
    return done();
  }
  function inputRoute(method: string, [uid = '', part, output = '']: string[], body: { enabled?: boolean }): Response {
    const input = inputs.get(uid);
    if (!input) return missing();
    if (part === 'videos') return done(recordingsOf(uid));
    if (part === 'outputs' && method === 'GET') {
      return done(
        input.outputs.map((id) => ({ uid: id, url: 'rtmp://x.example/live', streamKey: 'k', enabled: true })),
      );
    }
    if (part === 'outputs') {
      input.outputs = input.outputs.filter((id) => id !== output);
      return done();
    }
    if (method === 'DELETE') inputs.delete(uid);
    else if (method === 'PUT') input.enabled = body.enabled ?? true;
    if (method !== 'GET' && !(inputs.has(uid) && input.enabled)) end(uid);
    return method === 'DELETE' ? done() : done(whole(input));
  }
  function route(method: string, path: string, query: URLSearchParams, init: RequestInit): Response {
    const body = init.body ? JSON.parse(String(init.body)) : {};
    const [first = '', ...rest] = path.split('/').filter((part) => part !== '');
    if (first === '' && method === 'GET') return done(recordingsOf(query.get('live_input_id') ?? ''));
    if (first === 'storage-usage') {
      return done({ totalStorageMinutes: 0, totalStorageMinutesLimit: 1000, videoCount: videos.size });
    }
    if (first !== 'live_inputs') return removeVideo(first);
    if (rest.length > 0) return inputRoute(method, rest, body);
    if (method === 'GET') return done([...inputs.values()].map(listed));
    return create(body, new Headers(init.headers).get('idempotency-key') ?? undefined);
  }
  return {
    inputs,
    videos,
    fetch: (async (url: string, init: RequestInit = {}) => {
      const { pathname, searchParams } = new URL(url);
      const path = pathname.slice(pathname.indexOf('/stream') + '/stream'.length);
      return route(init.method ?? 'GET', path, searchParams, init);
    }) as typeof fetch,
    /** A broadcast begins. @param lateMs how long its recording is in no list. */
    publish(uid: string, lateMs = 0) {
      made += 1;
      const video = { uid: `video-${made}`, liveInput: uid, seenFromMs: clock.now() + lateMs, landedAtMs: undefined };
      if (inputs.get(uid)?.enabled) videos.set(video.uid, video);
    },
    restream: (uid: string) => void inputs.get(uid)?.outputs.push('output-1'),
    /** What is left of anybody. */
    left: () => [...inputs.keys(), ...videos.keys()],
  };
}
