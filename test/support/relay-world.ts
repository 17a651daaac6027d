/**
 * A relay and the local Stream in this process, with scripted peers on real sockets: glasses that push with ffmpeg,
 * apps with a webhook server. For tests that need the wire and no SDK.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WebSocket } from 'ws';
import {
  createLocalStream,
  type LocalStreamAddress,
  type LocalStreamOptions,
} from '../../cloud/local-stream/server.ts';
import { createRelay, type Relay, type RelayOptions } from '../../cloud/relay.ts';
import { type Child, createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { bundledFfmpeg } from '../../shared/ffmpeg-binary.ts';
import { createLog } from '../../shared/log.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';

export type Frame = { type: string } & Record<string, unknown>;

/** What has arrived on a wire, and a way to wait for more of it. */
export interface Inbox {
  readonly frames: Frame[];
  /** The next frame that fits and was not yet taken. @param what for the message when it does not come. */
  take(what: string, fits: (frame: Frame) => boolean, timeoutMs?: number): Promise<Frame>;
  arrived(frame: Frame): void;
}

export function createInbox(): Inbox {
  const frames: Frame[] = [];
  const taken = new Set<Frame>();
  const waiting = new Set<() => void>();
  return {
    frames,
    arrived(frame) {
      frames.push(frame);
      for (const look of [...waiting]) look();
    },
    take(what, fits, timeoutMs = 20_000) {
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => {
          waiting.delete(look);
          reject(new Error(`${what} did not arrive; got ${JSON.stringify(frames.slice(-12))}`));
        }, timeoutMs);
        const look = () => {
          const found = frames.find((frame) => !taken.has(frame) && fits(frame));
          if (!found) return;
          clearTimeout(timer);
          waiting.delete(look);
          taken.add(found);
          resolve(found);
        };
        waiting.add(look);
        look();
      });
    },
  };
}

export interface Peer {
  inbox: Inbox;
  socket: WebSocket;
  send(frame: object | string): void;
  closed: Promise<number>;
}

/** Opens a WebSocket; rejects with the HTTP status and body when it is refused. */
export function openPeer(url: string, headers: Record<string, string> = {}): Promise<Peer> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, { headers });
    const inbox = createInbox();
    const closed = new Promise<number>((end) => socket.once('close', (code) => end(code)));
    socket.on('message', (data) => inbox.arrived(JSON.parse(data.toString()) as Frame));
    socket.once('unexpected-response', (_request, response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => reject(new Error(`${response.statusCode} ${Buffer.concat(chunks).toString()}`)));
    });
    socket.on('error', reject);
    socket.once('open', () =>
      resolve({
        inbox,
        socket,
        closed,
        send: (frame) => socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame)),
      }),
    );
  });
}

/** @param overrides of the relay, or what makes them once the provider is there. */
export async function createRelayWorld(
  overrides: Partial<RelayOptions> | ((provider: LocalStreamAddress) => Promise<Partial<RelayOptions>>) = {},
  localStreamOptions: Partial<LocalStreamOptions> = {},
) {
  const clock = createSystemClock();
  const redactor = createRedactor();
  const logLines: string[] = [];
  const log = createLog({
    program: 'test',
    level: 'debug',
    redactor,
    destination: { write: (line) => void logLines.push(line) },
  });
  const children = createChildSpawner({ clock, log, redactor });
  const folder = await mkdtemp(join(tmpdir(), 'glasscast-relay-'));
  const localStream = createLocalStream({
    ...{ clock, log, redactor, spawn: children.spawn, dataDir: join(folder, 'stream') },
    readyDelayMs: 50,
    ...localStreamOptions,
  });
  const provider: LocalStreamAddress = await localStream.start();
  const adminToken = new Secret('an-admin-token-for-tests');
  const relayOptions: RelayOptions = {
    ...{ clock, log, redactor, adminToken, dataDir: join(folder, 'relay') },
    provider: { kind: 'local', ...provider },
    appGraceMs: 300,
    onDefect(error) {
      throw error;
    },
    ...(typeof overrides === 'function' ? await overrides(provider) : overrides),
  };
  let relay = createRelay(relayOptions);
  const { url, port } = await relay.start();
  const wsUrl = url.replace('http', 'ws');
  const closers: (() => Promise<unknown> | unknown)[] = [];

  async function rest<Result = Frame>(method: string, path: string, body?: object): Promise<Result> {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${adminToken.reveal()}`,
        ...(body ? { 'content-type': 'application/json' } : {}),
      },
      ...(body ? { body: JSON.stringify(body) } : {}),
    });
    const text = await response.text();
    return { status: response.status, ...(text ? (JSON.parse(text) as object) : {}) } as Result;
  }
  async function providerCall(path: string): Promise<unknown> {
    const response = await fetch(`${provider.apiBaseUrl}/accounts/${provider.accountId}/stream${path}`, {
      headers: { authorization: `Bearer ${provider.apiToken.reveal()}` },
    });
    return ((await response.json()) as { result: unknown }).result;
  }
  /** Uids of what is left at the provider. */
  async function leftovers(): Promise<string[]> {
    const inputs = (await providerCall('/live_inputs')) as { uid: string }[];
    const videos = (await providerCall('')) as { uid: string }[] | { videos: { uid: string }[] };
    return [...inputs, ...(Array.isArray(videos) ? videos : videos.videos)].map(({ uid }) => uid);
  }

  return {
    ...{ url, wsUrl, provider, rest, providerCall, leftovers, logLines, clock, folder, adminToken },
    get relay() {
      return relay;
    },
    /** The relay ends, and another takes its port and its data. @param awayMs how long nobody listens. */
    async restart(closing?: Parameters<Relay['close']>[0], awayMs = 0) {
      await relay.close(closing);
      await clock.sleep(awayMs);
      relay = createRelay({ ...relayOptions, port });
      await relay.start();
    },
    /** Glasses of a user; they push a test picture when told to. */
    async glasses(email: string) {
      const { coreToken } = await rest<{ coreToken: string }>('POST', '/api/tokens', { email });
      const glasses = await createGlasses(`${wsUrl}/glasses-ws`, coreToken, children.spawn);
      closers.push(glasses.close);
      return glasses;
    },
    /** An app with its webhook server, registered at the relay. */
    async app(packageName: string) {
      const app = await createScriptedApp(packageName);
      closers.push(app.close);
      await rest('PUT', `/api/apps/${packageName}`, { publicUrl: app.publicUrl, apiKey: app.apiKey });
      return app;
    },
    async close() {
      for (const close of closers.reverse()) await close();
      await relay.close();
      await localStream.close();
      await children.close();
      await rm(folder, { recursive: true, force: true });
      return clock.pending();
    },
  };
}
export type RelayWorld = Awaited<ReturnType<typeof createRelayWorld>>;

/** How the scripted glasses behave; may be changed at any time. */
export interface GlassesManners {
  obeysStop: boolean;
  acksKeepAlives: boolean;
  /** Anything else is an `error` with these details. */
  onStart: 'publish' | 'nothing' | (string & {});
  /** Media flows once this has settled. */
  camera: Promise<unknown>;
}

/** Glasses at any relay. */
export async function createGlasses(url: string, coreToken: string, spawn: (spec: never) => Child) {
  const run = spawn as unknown as ReturnType<typeof createChildSpawner>['spawn'];
  const inbox = createInbox();
  let peer: Peer;
  let ffmpeg: Child | undefined;
  let running: string | undefined;
  const state: GlassesManners = {
    obeysStop: true,
    acksKeepAlives: true,
    onStart: 'publish',
    camera: Promise.resolve(),
  };

  /** @param to another relay of the same cluster */
  async function connect(to = url): Promise<void> {
    peer = await openPeer(to, { authorization: `Bearer ${coreToken}` });
    peer.socket.on('message', (data) => {
      const frame = JSON.parse(data.toString()) as Frame;
      obey(frame);
      inbox.arrived(frame);
    });
    // What came before the listener is in the peer's own inbox.
    for (const frame of peer.inbox.frames) inbox.arrived(frame);
    peer.send({
      type: 'glasses_connection_state',
      modelName: 'Mentra Live',
      status: 'CONNECTED',
      wifi: { connected: true, ssid: 'lab' },
    });
  }
  function status(fields: object): void {
    peer.send({ type: 'rtmp_stream_status', timestamp: Date.now(), ...fields });
  }
  function obey(frame: Frame): void {
    if (frame.type === 'start_rtmp_stream') {
      running = frame.streamId as string;
      if (state.onStart === 'publish') void publish(running, frame.rtmpUrl as string);
      else if (state.onStart !== 'nothing') status({ status: 'error', streamId: running, errorDetails: state.onStart });
    } else if (frame.type === 'stop_rtmp_stream' && state.obeysStop) {
      // As the firmware does: no id, and `stopped` before `stopping`.
      void stopPush().then(() => {
        status({ status: 'stopped' });
        status({ status: 'stopping' });
      });
    } else if (frame.type === 'keep_rtmp_stream_alive' && state.acksKeepAlives && frame.streamId === running) {
      peer.send({ type: 'keep_alive_ack', streamId: frame.streamId, ackId: frame.ackId });
    }
  }
  async function publish(streamId: string, rtmpUrl: string): Promise<void> {
    status({ status: 'initializing', streamId });
    await state.camera;
    if (running !== streamId) return;
    ffmpeg = run({ name: 'ffmpeg', file: bundledFfmpeg() ?? 'ffmpeg', args: pushArgs(rtmpUrl) });
    status({ status: 'streaming', streamId, stats: { bitrate: 600_000, fps: 15, droppedFrames: 0 } });
  }
  async function stopPush(): Promise<void> {
    await ffmpeg?.stop();
    ffmpeg = undefined;
    running = undefined;
  }
  await connect();
  return {
    inbox,
    state,
    status,
    stopPush,
    connect,
    send: (frame: object | string) => peer.send(frame),
    disconnect: () => {
      peer.socket.terminate();
      return peer.closed;
    },
    closed: () => peer.closed,
    async close() {
      await stopPush();
      peer.socket.terminate();
    },
  };
}

function pushArgs(publishUrl: string): string[] {
  const input = ['-re', '-f', 'lavfi', '-i', 'testsrc2=size=320x240:rate=15', '-re', '-f', 'lavfi', '-i', 'sine=440'];
  const video = ['-c:v', 'libx264', '-preset', 'ultrafast', '-tune', 'zerolatency', '-pix_fmt', 'yuv420p', '-g', '8'];
  return ['-loglevel', 'error', ...input, ...video, '-c:a', 'aac', '-b:a', '64k', '-f', 'flv', publishUrl];
}

/** An app with its webhook server, registered nowhere yet. */
export async function createScriptedApp(packageName: string) {
  const apiKey = `key-of-${packageName}`;
  const webhooks = createInbox();
  const inbox = createInbox();
  let peer: Peer | undefined;
  /** How long the webhook's answer is held back, as by an app that awaits a stream in onSession. */
  const state: { connects: boolean; answer: Promise<void> } = { connects: true, answer: Promise.resolve() };

  async function connect(url: string, sessionId: string, key = apiKey): Promise<Peer> {
    const opened = await openPeer(url);
    opened.socket.on('message', (data) => inbox.arrived(JSON.parse(data.toString()) as Frame));
    opened.send({ type: 'tpa_connection_init', sessionId, packageName, apiKey: key });
    peer = opened;
    return opened;
  }
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', async () => {
      // What the app asked of the glasses comes back elsewhere, as a form.
      if (request.url !== '/webhook') return void response.end('{}');
      const body = JSON.parse(Buffer.concat(chunks).toString()) as Frame;
      if (body.type === 'session_request' && state.connects) {
        await connect(body.augmentOSWebsocketUrl as string, body.sessionId as string);
      }
      webhooks.arrived(body);
      await state.answer;
      response.writeHead(200, { 'content-type': 'application/json' }).end('{"status":"success"}');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    ...{ packageName, apiKey, webhooks, inbox, state, connect },
    publicUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    send: (frame: object | string) => peer?.send(frame),
    socket: () => peer,
    close() {
      peer?.socket.terminate();
      server.closeAllConnections();
      return new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
