/** FLV tags as encoders send them, with real decoder configurations and made-up pictures. */
import type { FlvTag } from '../../shared/rtmp/flv.ts';

/** AVC decoder configurations as x264 wrote them, and the picture size in them. */
export const avcRecords = {
  '640x360': '0164001effe100196764001eacb405017fcb80880000030008000003019078b17501000468ef0fcbfdf8f800',
  '854x480': '0142c01fffe100196742c01fd900d83de6f0110000030001000003003c0f18324801000568cb83cb20',
  '1280x720': '0164001fffe1001a6764001facd9405005bb0110000003001000000303c0f183196001000468ef8fcbfdf8f800',
  '1920x1080': '01640028ffe1001b67640028acd940780227e5c044000003000400000300f03c60c65801000468ef8fcbfdf8f800',
  /** Interlaced, 4:2:2. */
  '720x576': '017a001effe10018677a001ebcd940b424d8088000000300800000190f8a14cb01000668fba3cb22c0fef8f800',
} as const;

export const aacRecords = { '44100 mono': '120856e500', '48000 stereo': '1190' } as const;

export const tags = {
  videoConfig: (size: '640x360' | '854x480' | '1280x720' | '1920x1080' = '640x360', timestampMs = 0): FlvTag => ({
    kind: 'video',
    timestampMs,
    body: Buffer.concat([Buffer.from([0x17, 0, 0, 0, 0]), Buffer.from(avcRecords[size], 'hex')]),
  }),
  audioConfig: (kind: keyof typeof aacRecords = '44100 mono', timestampMs = 0): FlvTag => ({
    kind: 'audio',
    timestampMs,
    body: Buffer.concat([Buffer.from([0xaf, 0]), Buffer.from(aacRecords[kind], 'hex')]),
  }),
  picture: (timestampMs: number, { isKey = false, ctsMs = 0 } = {}): FlvTag => {
    const body = Buffer.alloc(5 + 8);
    body.writeUInt8(isKey ? 0x17 : 0x27, 0);
    body.writeUInt8(1, 1);
    body.writeIntBE(ctsMs, 2, 3);
    body.writeUInt32BE(4, 5);
    body.writeUInt8(isKey ? 0x65 : 0x41, 9);
    return { kind: 'video', timestampMs, body };
  },
  sound: (timestampMs: number): FlvTag => ({
    kind: 'audio',
    timestampMs,
    body: Buffer.from([0xaf, 1, 0x21, 0x10, 0x04]),
  }),
  metadata: (text = ''): FlvTag => ({
    kind: 'script',
    timestampMs: 0,
    body: Buffer.from(`\x02\x00\x0aonMetaData${text}`),
  }),
};

/** Pictures at 25 a second from `fromMs` on, a key frame each `keyEveryMs`; sound in between when wanted. Interleaved by time. */
export function stretch(options: {
  fromMs: number;
  untilMs: number;
  keyEveryMs?: number;
  hasSound?: boolean;
  sampleRate?: number;
}): FlvTag[] {
  const { fromMs, untilMs, keyEveryMs = 1000, hasSound = true, sampleRate = 44_100 } = options;
  const made: FlvTag[] = [];
  for (let ms = fromMs; ms < untilMs; ms += 40)
    made.push(tags.picture(ms, { isKey: (ms - fromMs) % keyEveryMs === 0 }));
  if (hasSound) {
    const frameMs = (1024 * 1000) / sampleRate;
    for (let i = 0; fromMs + i * frameMs < untilMs; i += 1) made.push(tags.sound(Math.floor(fromMs + i * frameMs)));
  }
  return made.sort((a, b) => a.timestampMs - b.timestampMs);
}
