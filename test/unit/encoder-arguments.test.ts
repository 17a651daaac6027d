import { expect, test } from 'vitest';
import { parseCaptureSource } from '../../device/capture/capture-source.ts';
import { encoderArguments, pictureArguments, soundArguments } from '../../device/encoding/encoder-arguments.ts';
import { videoEncoders } from '../../device/encoding/video-encoders.ts';
import { resolveSettings, type VideoSettings } from '../../shared/stream.ts';

const epochMs = 1_700_000_000_000;
function argsOf(source: string, video: VideoSettings = {}, hasFpsMode = false): string[] {
  const options = { hasAudio: true, settings: resolveSettings(video, { bitrate: 96_000, sampleRate: 44_100 }) };
  return encoderArguments({
    ...options,
    source: parseCaptureSource(source),
    epochMs,
    nowMs: epochMs + 2_000,
    binary: { hasFpsMode },
  });
}
const after = (args: string[], flag: string) => args[args.indexOf(flag) + 1];

test('the whole command for a file, word by word', () => {
  expect(argsOf('file:/my films/a b.mp4', { width: 640, height: 360, bitrate: 800_000, frameRate: 25 })).toEqual([
    ...['-hide_banner', '-nostdin', '-nostats', '-loglevel', 'level+warning'],
    ...['-re', '-stream_loop', '-1', '-fflags', '+genpts', '-i', 'file:/my films/a b.mp4'],
    '-filter:v',
    'fps=25,scale=640:360:force_original_aspect_ratio=decrease,pad=640:360:(ow-iw)/2:(oh-ih)/2,setsar=1,settb=1/1000,setpts=PTS+2.000/TB,format=yuv420p',
    ...['-map', '0:v:0', '-vsync', 'passthrough', '-enc_time_base', '1:1000'],
    ...['-c:v', 'libx264', '-preset', 'ultrafast', '-tune', 'zerolatency', '-profile:v', 'baseline', '-bf', '0'],
    ...['-x264-params', 'fps=25', '-b:v', '800000', '-maxrate', '800000', '-bufsize', '400000'],
    ...['-g', '100', '-sc_threshold', '0'],
    ...['-force_key_frames', 'expr:if(isnan(prev_forced_t),1,gte(t,prev_forced_t+2-0.01))'],
    ...['-flvflags', 'no_duration_filesize+no_sequence_end', '-flush_packets', '1', '-f', 'flv', 'pipe:3'],
    ...['-filter:a', 'asetpts=PTS+2.000/TB', '-map', '0:a:0'],
    ...['-c:a', 'aac', '-b:a', '96000', '-ar', '44100', '-ac', '1'],
    ...['-flvflags', 'no_duration_filesize+no_sequence_end', '-flush_packets', '1', '-f', 'flv', 'pipe:4'],
  ]);
});

test('short key frame intervals begin with two halves', () => {
  expect(after(argsOf('test-pattern', { keyFrameIntervalMs: 1000 }), '-force_key_frames')).toBe(
    'expr:if(isnan(prev_forced_t),1,gte(t,prev_forced_t+if(lt(n_forced,3),0.5,1)-0.01))',
  );
});

test('newer versions get -fps_mode', () => {
  const args = argsOf('test-pattern', {}, true);
  expect(after(args, '-fps_mode')).toBe('passthrough');
  expect(args).not.toContain('-vsync');
});

test('a device name with spaces stays one word', () => {
  const args = argsOf('v4l2:/dev/my camera');
  expect(args).toContain('/dev/my camera');
});

const trackOptions = (source: string, video: VideoSettings = {}) => ({
  ...{ source: parseCaptureSource(source), hasAudio: true, epochMs, nowMs: epochMs + 2_000 },
  ...{ settings: resolveSettings(video, { bitrate: 96_000, sampleRate: 44_100 }), binary: { hasFpsMode: true } },
});
const flv = ['-flvflags', 'no_duration_filesize+no_sequence_end', '-flush_packets', '1', '-f', 'flv', 'pipe:3'];
const quiet = ['-hide_banner', '-nostdin', '-nostats', '-loglevel', 'level+warning'];

test('the picture alone, by an encoder of the graphics chip, word by word', () => {
  const vaapi = videoEncoders.find(({ name }) => name === 'h264_vaapi');
  const options = trackOptions('v4l2:/dev/video0', { width: 640, height: 360, bitrate: 800_000, frameRate: 25 });
  expect(pictureArguments({ ...options, ...(vaapi ? { videoEncoder: vaapi } : {}) })).toEqual([
    ...quiet,
    ...['-vaapi_device', '/dev/dri/renderD128', '-probesize', '32', '-analyzeduration', '0'],
    ...['-f', 'v4l2', '-framerate', '25', '-video_size', '640x360', '-i', '/dev/video0'],
    '-filter:v',
    "settb=1/1000,setpts='max(PREV_OUTPTS+1,(RTCTIME-1700000000000000)/1000)',select='isnan(prev_selected_t)+gte(t-prev_selected_t,0.032)',scale=640:360:force_original_aspect_ratio=decrease,pad=640:360:(ow-iw)/2:(oh-ih)/2,setsar=1,format=nv12,hwupload",
    ...['-map', '0:v:0', '-fps_mode', 'passthrough', '-enc_time_base', '1:1000'],
    ...['-c:v', 'h264_vaapi', '-profile:v', 'constrained_baseline', '-bf', '0', '-flags', '+cgop'],
    ...['-b:v', '800000', '-maxrate', '800000', '-bufsize', '400000', '-g', '100'],
    ...['-force_key_frames', 'expr:if(isnan(prev_forced_t),1,gte(t,prev_forced_t+2-0.01))', ...flv],
  ]);
});

test('the sound alone paces itself when it is generated, word by word', () => {
  expect(soundArguments({ ...trackOptions('test-pattern'), extraFilters: ['afftdn=nr=12'] })).toEqual([
    ...quiet,
    ...['-re', '-probesize', '32', '-analyzeduration', '0', '-f', 'lavfi'],
    ...['-i', 'sine=frequency=1000:sample_rate=44100', '-filter:a'],
    expect.stringMatching(/^asetpts='if\(eq\(N,0\),.*,volume=volume=0:enable='not\(.*\)',afftdn=nr=12$/),
    ...['-map', '0:a:0', '-c:a', 'aac', '-b:a', '96000', '-ar', '44100', '-ac', '1', ...flv],
  ]);
});

test('both runs of a file begin at the same place in it', () => {
  const options = { ...trackOptions('file:/a.mp4'), startAtMs: 1500, fileDurationMs: 4000 };
  const runs = [pictureArguments(options), soundArguments(options)];
  const inputs = runs.map((args) => args.slice(args.indexOf('-re'), args.indexOf('-i') + 2));
  expect(inputs[0]).toEqual(inputs[1]);
  expect(inputs[0]?.at(-1)).toContain('inpoint 1.500\nduration 2.500\n');
  expect(after(runs[0] ?? [], '-filter:v')).toMatch(/^trim=start=0,fps=30,.*setpts=PTS\+2\.000\/TB,format=yuv420p$/);
  expect(after(runs[1] ?? [], '-filter:a')).toBe('atrim=start=0,asetpts=PTS+2.000/TB');
});

test('the sound of a silent file is silence, and its picture knows nothing of it', () => {
  const options = { ...trackOptions('file:/a.mp4'), hasAudio: false };
  expect(soundArguments(options).join(' ')).toContain('-re -probesize 32 -analyzeduration 0 -f lavfi -i anullsrc');
  expect(pictureArguments(options).join(' ')).not.toMatch(/anullsrc|aac/);
});
