/**
 * Byte strings for the ingest that were valid RTMP sessions before somebody changed them, or never were: the same ones in each
 * run, by number. Every string is a whole connection: handshake and all that follows.
 */
import { encodeAmf0 } from '../../shared/rtmp/amf0.ts';
import { chunked, media } from './rtmp-peer.ts';

const HANDSHAKE = Buffer.concat([Buffer.from([3]), Buffer.alloc(3072, 1)]);
const TYPES = { audio: 8, video: 9, script: 18 } as const;
const COMMAND = 20;

/** Park and Miller's: small, and the same everywhere. */
function createDice(seed: number): (sides: number) => number {
  let state = (seed % 2_147_483_646) + 1;
  return (sides) => {
    state = (state * 48_271) % 2_147_483_647;
    return state % sides;
  };
}

const command = (...values: Parameters<typeof encodeAmf0>) => chunked(COMMAND, encodeAmf0(...values), { stream: 1 });
const control = (type: number, value: number) => {
  const body = Buffer.alloc(4);
  body.writeUInt32BE(value);
  return chunked(type, body, { chunkStream: 2 });
};
const connect = command('connect', 1, { app: 'live', flashVer: 'FMLE/3.0', tcUrl: 'rtmp://127.0.0.1/live' });

/** Pieces of a session; mutations also cut and repeat at their borders. @param key may publish, @param watch may play. */
function sessions(key: string, watch: string): Buffer[][] {
  const tags = [
    media.metadata(),
    media.audioHeader(),
    media.videoHeader(),
    media.key(0),
    media.audio(10),
    media.frame(40),
  ];
  const sent = tags.map(({ kind, timestampMs, body }) =>
    chunked(TYPES[kind], body, { timestampMs, chunkStream: kind === 'audio' ? 4 : 6, stream: 1 }),
  );
  const opening = [connect, command('releaseStream', 2, null, key), command('createStream', 4, null)];
  const publish = [...opening, command('publish', 5, null, key, 'live')];
  return [
    [...publish, ...sent, command('deleteStream', 6, null, 1)],
    [...publish, control(1, 128), ...sent, control(3, 1000), control(5, 2_500_000), control(2, 6)],
    [...opening, command('play', 5, null, watch), control(3, 65_536), control(5, 100)],
    [...opening, command('publish', 5, null, 'wrong', 'live'), ...sent],
    [connect, connect, ...sent],
  ];
}

const EDGES = [0, 1, 2, 3, 0x3f, 0x40, 0x7f, 0x80, 0xc0, 0xfe, 0xff];

function mutate(pieces: readonly Buffer[], dice: (sides: number) => number): Buffer {
  const shuffled = [...pieces];
  for (let count = dice(3); count > 0; count -= 1) {
    const [from, to] = [dice(shuffled.length), dice(shuffled.length)];
    const piece = shuffled[from];
    if (!piece) continue;
    if (dice(2)) shuffled.splice(to, 0, piece);
    else shuffled.splice(from, 1);
  }
  let bytes = Buffer.concat(shuffled);
  for (let count = 1 + dice(4); count > 0 && bytes.length > 4; count -= 1) {
    const at = dice(bytes.length - 4);
    const how = dice(5);
    if (how === 0) bytes[at] = EDGES[dice(EDGES.length)] ?? 0;
    else if (how === 1) bytes.writeUInt32BE(dice(2) ? 0xffffffff : dice(2_000_000_000), at);
    else if (how === 2) bytes = bytes.subarray(0, at);
    else if (how === 3) bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + dice(40))]);
    else bytes = Buffer.concat([bytes.subarray(0, at), noise(1 + dice(40), dice), bytes.subarray(at)]);
  }
  return bytes;
}

function noise(bytes: number, dice: (sides: number) => number): Buffer {
  const made = Buffer.alloc(bytes);
  for (let at = 0; at < bytes; at += 1) made[at] = dice(256);
  return made;
}

/** Number `index` of endlessly many. One in twenty is noise from the first byte, one in twenty after the handshake. */
export function createMutations(key: string, watch: string): (index: number) => Buffer {
  const valid = sessions(key, watch);
  return (index) => {
    const dice = createDice(index * 7919);
    for (let count = 0; count < 3; count += 1) dice(2);
    const kind = dice(20);
    if (kind === 0) return noise(1 + dice(1000), dice);
    if (kind === 1) return Buffer.concat([HANDSHAKE, noise(dice(1000), dice)]);
    if (kind === 2) return HANDSHAKE.subarray(0, dice(HANDSHAKE.length));
    return Buffer.concat([HANDSHAKE, mutate(valid[dice(valid.length)] ?? [], dice)]);
  };
}
