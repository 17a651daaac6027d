/**
 * A whole board before a real relay and a real local Stream: built, flashed, booted, enrolled. What the bench does to it and sees
 * of it is here: streams by the operator's REST, what passes the door of the ingest, what a viewer decodes. Judges nothing.
 */
import { constants, copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { GlasscastError } from '../../shared/errors.ts';
import type { Bench } from '../bench/program.ts';
import { type RelayProcess, startRelayProcess } from '../bench/relay-process.ts';
import { startMedia } from '../bench/world.ts';
import { createProgramRunner } from '../flash/host-programs.ts';
import { type BoardImage, buildBoardImage } from './board-image.ts';
import { makeReleaseKey, type ReleaseKey } from './board-releases.ts';
import { buildPackage, flashImage, LIGHT } from './flashing.ts';
import { createGuestProvider } from './guest-provider.ts';
import { openPieces, type Pieces } from './pieces.ts';
import { type PlayedMedia, playedMedia } from './played-media.ts';
import { bootVirtualBoard, HOST_AS_SEEN_BY_BOARD, type VirtualBoard } from './virtual-board.ts';

export const BOARD_USER = 'bench@glasscast.example';

/** States of the relay's that nothing follows. */
export const OVER: readonly string[] = ['stopped', 'failed'];

export interface StreamWish {
  widthPx: number;
  heightPx: number;
  frameRate: number;
  videoBitrateBps: number;
}

export interface BoardStream {
  streamId: string;
  state: string;
  errorCode?: string;
  message?: string;
  temperatureC?: number;
  resolvedConfig?: { width?: number; height?: number; frameRate?: number };
  playback?: { flvUrl?: string };
}

export interface TimelineLine {
  atMs: number;
  kind: string;
  state?: string;
  code?: string;
  text: string;
}

export interface PassedTag {
  /** `Clock.monotonicMs` */
  atMs: number;
  kind: 'audio' | 'video' | 'script';
  timestampMs: number;
  connection: number;
}

export interface BoardWorld {
  readonly board: VirtualBoard;
  relay: RelayProcess;
  /** As the board finds it. */
  relayUrl: string;
  image: BoardImage;
  pieces: Pieces;
  /** Whose releases the board takes. */
  releaseKey: ReleaseKey;
  /** What passed the door of the ingest, oldest first. */
  readonly tags: readonly PassedTag[];
  /** Again, from the same disk. */
  boot(): Promise<void>;
  awaitAgent(isThere?: boolean, timeoutMs?: number): Promise<void>;
  /** Until the one before is down: a start in between would join what is ending. */
  awaitNoStream(): Promise<void>;
  /** Gives the id; resolves when it was accepted. */
  start(wish: StreamWish): Promise<string>;
  /** Running or just ended. */
  stream(streamId: string): Promise<BoardStream | undefined>;
  timeline(streamId: string): Promise<TimelineLine[]>;
  /** Until it is in one of these states. @throws GlasscastError START_TIMEOUT: with the timeline */
  awaitState(streamId: string, states: readonly string[], timeoutMs?: number): Promise<BoardStream>;
  /** Until the timeline has a line with this code or state after `sinceMs` of the wall clock. @throws as `awaitState` */
  awaitLine(streamId: string, wanted: string, sinceMs: number, timeoutMs?: number): Promise<TimelineLine>;
  stop(): Promise<void>;
  play(streamId: string, seconds: number): Promise<PlayedMedia>;
  /** As `play`, with a tone at the other end of the board's sound card. */
  hear(streamId: string, seconds: number): Promise<PlayedMedia>;
}

export interface WorldPhases {
  /** Runs it and notes how long it took. */
  time<T>(name: string, work: () => Promise<T>): Promise<T>;
}

const TONE_ON =
  'systemd-run --quiet --unit=bench-tone speaker-test -D plughw:CARD=Loopback,DEV=0 -c 2 -t sine -f 440 -r 48000';
const TONE_OFF = 'systemctl stop bench-tone';
const TONE_AHEAD_MS = 3_000;

const POLL_MS = 200;
const AGENT_TIMEOUT_MS = 300_000;
/** A machine that is busy with other things emulates ten times slower. */
const STATE_TIMEOUT_MS = 180_000;

export interface BoardWorldOptions {
  /** Folder of what is kept between runs. */
  piecesAt: string;
  /** Empties it first. */
  isFresh: boolean;
}

export async function openBoardWorld(
  bench: Bench,
  phases: WorldPhases,
  { piecesAt, isFresh }: BoardWorldOptions,
): Promise<BoardWorld> {
  const pieces = await openPieces({
    ...{ folder: piecesAt, isFresh },
    onPiece: (name, state) => bench.progress(`${name}: ${state === 'kept' ? 'kept from before' : 'being made'}`),
  });
  bench.defer(pieces.discard);
  const run = createProgramRunner(bench.spawn);
  const image = await phases.time('image', () => buildBoardImage({ pieces, run, signal: bench.signal }));
  const agentPackage = await phases.time('package', () => buildPackage(bench, pieces));
  const releaseKey = await makeReleaseKey(bench.folder);
  const tags: PassedTag[] = [];
  const { relay, relayUrl } = await phases.time('relay', () => startRelay(bench, tags));
  const disk = join(bench.folder, 'disk.ext4');
  await phases.time('flash', async () => {
    await copyFile(image.disk, disk, constants.COPYFILE_FICLONE);
    const { code } = await relay.ask<{ code: string }>('POST', '/api/enrolments', { email: BOARD_USER });
    await flashImage(bench, {
      ...{ disk, relayUrl, code, package: agentPackage, user: BOARD_USER },
      releaseKeyFiles: [releaseKey.publicKeyFile],
    });
  });
  const held: { board: VirtualBoard | undefined } = { board: undefined };
  bench.defer(() => held.board?.powerCut());
  const boot = async () => {
    held.board = await bootVirtualBoard(bench, { image, disk });
  };
  await phases.time('boot', boot);
  const world: BoardWorld = {
    ...{ relay, relayUrl, releaseKey, pieces, image, tags, boot },
    get board() {
      if (!held.board) throw new GlasscastError('BOARD_UNREACHABLE', { reason: 'it was never booted' });
      return held.board;
    },
    ...looks(bench, relay),
    async hear(streamId, seconds) {
      const { shell } = world.board;
      await shell.must(TONE_ON);
      try {
        // Encoder and ingest are seconds behind the microphone.
        await bench.clock.sleep(TONE_AHEAD_MS, { signal: bench.signal });
        return await world.play(streamId, seconds);
      } finally {
        await shell.must(TONE_OFF);
      }
    },
  };
  // Named by a number that the kernel gives: better told now than as a stream that does not start.
  await world.board.shell.must(`test -d /sys/class/leds/${LIGHT} || { ls /sys/class/leds; false; }`);
  try {
    await phases.time('agent', () => world.awaitAgent());
  } catch (error) {
    const units = '-u glasscast-agent -u glasscast-first-boot';
    const { output } = await world.board.shell.run(`journalctl -b --no-pager -n 40 -o cat ${units}`);
    bench.progress(`the last words of the board:\n${output}`);
    throw error;
  }
  return world;
}

async function startRelay(bench: Bench, tags: PassedTag[]): Promise<{ relay: RelayProcess; relayUrl: string }> {
  const media = await startMedia(bench);
  media.listeners.onTag = ({ kind, timestampMs }, connection) =>
    void tags.push({ atMs: bench.clock.monotonicMs(), kind, timestampMs, connection });
  const { stream, rtmpTapPort } = media;
  const target = `http://127.0.0.1:${stream.httpPort}`;
  const provider = createGuestProvider({ target, publishPort: rtmpTapPort });
  const port = await provider.listen();
  bench.defer(provider.close);
  const { accountId, apiToken } = stream;
  const apiBaseUrl = stream.apiBaseUrl.replace(`:${stream.httpPort}/`, `:${port}/`);
  const relay = await startRelayProcess(bench, { apiBaseUrl, accountId, apiToken }, join(bench.folder, 'relay'));
  bench.defer(relay.stop);
  return { relay, relayUrl: `${relay.url.replace('http://127.0.0.1', `ws://${HOST_AS_SEEN_BY_BOARD}`)}/glasses-ws` };
}

type Looks = Omit<
  BoardWorld,
  'board' | 'relay' | 'relayUrl' | 'releaseKey' | 'pieces' | 'image' | 'tags' | 'boot' | 'hear'
>;

function looks(bench: Bench, relay: RelayProcess): Looks {
  const { clock, signal } = bench;
  const user = encodeURIComponent(BOARD_USER);
  async function poll<T>(
    timeoutMs: number,
    look: () => Promise<T | undefined>,
    late: () => Promise<string>,
  ): Promise<T> {
    const deadlineMs = clock.monotonicMs() + timeoutMs;
    for (;;) {
      const found = await look();
      if (found !== undefined) return found;
      if (clock.monotonicMs() > deadlineMs) throw new GlasscastError('START_TIMEOUT', { reason: await late() });
      await clock.sleep(POLL_MS, { signal });
    }
  }
  const stream = async (streamId: string) => {
    const { streams } = await relay.ask<{ streams: BoardStream[] }>('GET', '/api/streams');
    const running = streams.find((each) => each.streamId === streamId);
    if (running) return running;
    const { streams: over } = await relay.ask<{ streams: BoardStream[] }>('GET', '/api/streams/history');
    return over.find((each) => each.streamId === streamId);
  };
  const timeline = async (streamId: string) => {
    return (await relay.ask<{ entries: TimelineLine[] }>('GET', `/api/streams/${streamId}/timeline`)).entries;
  };
  const story = async (streamId: string) =>
    (await timeline(streamId)).map(({ state, code, text }) => `${state ?? code ?? ''} ${text}`).join(' | ');
  return {
    ...{ stream, timeline },
    awaitAgent: async (isThere = true, timeoutMs = AGENT_TIMEOUT_MS) => {
      const look = async () => ((await relay.connectedUsers()).includes(BOARD_USER) === isThere ? true : undefined);
      await poll(timeoutMs, look, async () => `the agent did not ${isThere ? 'come' : 'go'}`);
    },
    awaitNoStream: async () => {
      const look = async () => ((await relay.streams()).length === 0 ? true : undefined);
      await poll(STATE_TIMEOUT_MS, look, async () => 'a stream does not end');
    },
    async start({ widthPx: width, heightPx: height, frameRate, videoBitrateBps: bitrate }) {
      const body = { video: { width, height, frameRate, bitrate }, audio: { bitrate: 32_000 } };
      return (await relay.ask<BoardStream>('POST', `/api/users/${user}/managed-stream`, body)).streamId;
    },
    awaitState: (streamId, states, timeoutMs = STATE_TIMEOUT_MS) => {
      const look = async () => {
        const found = await stream(streamId);
        if (found && OVER.includes(found.state) && !states.includes(found.state)) {
          throw new GlasscastError('START_TIMEOUT', { reason: `it is over: ${await story(streamId)}` });
        }
        return found && states.includes(found.state) ? found : undefined;
      };
      return poll(timeoutMs, look, async () => `no ${states.join(' or ')}: ${await story(streamId)}`);
    },
    awaitLine: (streamId, wanted, sinceMs, timeoutMs = STATE_TIMEOUT_MS) => {
      const look = async () =>
        (await timeline(streamId)).find(
          ({ atMs, code, state }) => atMs >= sinceMs && (code === wanted || state === wanted),
        );
      return poll(timeoutMs, look, async () => `no ${wanted}: ${await story(streamId)}`);
    },
    stop: () => relay.ask('DELETE', `/api/users/${user}/managed-stream`),
    async play(streamId, seconds) {
      const url = (await stream(streamId))?.playback?.flvUrl;
      if (url === undefined) throw new GlasscastError('STREAM_NOT_FOUND');
      return playedMedia(bench, url, seconds);
    },
  };
}
