/** The rules that hold for each encoder of the table. */
import { describe, expect, test } from 'vitest';
import { videoEncoders } from '../../device/encoding/video-encoders.ts';
import { resolveSettings } from '../../shared/stream.ts';

const settings = resolveSettings({ bitrate: 1_500_000, frameRate: 25, keyFrameIntervalMs: 2000 });
const after = (args: string[], flag: string) => args[args.indexOf(flag) + 1];

test('hardware comes before software', () => {
  const kinds = videoEncoders.map(({ isHardware }) => isHardware);
  expect(kinds).toEqual([...kinds].sort((a, b) => Number(b) - Number(a)));
  expect(new Set(videoEncoders.map(({ name }) => name)).size).toBe(videoEncoders.length);
});

describe.each(videoEncoders.map((encoder) => [encoder.name, encoder] as const))('%s', (name, encoder) => {
  const args = encoder.codecArguments(settings, { hasFpsMode: true });

  test('has no B-frames, a capped bitrate, a low profile', () => {
    expect(after(args, '-c:v')).toBe(name);
    expect(after(args, '-bf')).toBe('0');
    expect([after(args, '-b:v'), after(args, '-maxrate')]).toEqual(['1500000', '1500000']);
    expect(after(args, '-profile:v')).toMatch(/^(constrained_)?baseline$|^66$|^578$/);
  });
  test('makes key frames by the clock, bounded by twice as many pictures', () => {
    expect(after(args, '-force_key_frames')).toBe('expr:if(isnan(prev_forced_t),1,gte(t,prev_forced_t+2-0.01))');
    expect(after(args, '-g')).toBe('100');
  });
  test('keeps our time stamps', () => {
    expect(after(args, '-fps_mode')).toBe('passthrough');
    expect(after(encoder.codecArguments(settings, { hasFpsMode: false }), '-vsync')).toBe('passthrough');
  });
  test('is told its pixel format', () => {
    expect(encoder.tailFilters[0]).toMatch(/^format=(nv12|yuv420p)$/);
  });
});

test('h264_rkmpp: only words that both encoders of this name know', () => {
  const args = videoEncoders.find(({ name }) => name === 'h264_rkmpp')?.codecArguments(settings, { hasFpsMode: true });
  expect(args?.filter((word) => /^-(rc|rc_mode|qp_\w+|level|coder)$/.test(word))).toEqual([]);
});
