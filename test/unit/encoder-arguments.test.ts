import { expect, test } from 'vitest';
import { parseCaptureSource } from '../../device/capture/capture-source.ts';
import { passthroughRun, pictureArguments, soundArguments } from '../../device/encoding/encoder-arguments.ts';
import { videoEncoders } from '../../device/encoding/video-encoders.ts';
import { resolveSettings, type VideoSettings } from '../../shared/stream.ts';

const epochMs = 1_700_000_000_000;
const trackOptions = (source: string, video: VideoSettings = {}) => ({
  ...{ source: parseCaptureSource(source), hasAudio: true, epochMs, nowMs: epochMs + 2_000 },
  ...{ settings: resolveSettings(video, { bitrate: 96_000, sampleRate: 44_100 }), binary: { hasFpsMode: true } },
  feedInput: ['-f', 'mpjpeg'],
});
const flv = ['-flvflags', 'no_duration_filesize+no_sequence_end', '-flush_packets', '1', '-f', 'flv', 'pipe:3'];
const quiet = ['-hide_banner', '-nostdin', '-nostats', '-loglevel', 'level+warning'];

const argsOf = (source: string, video: VideoSettings = {}, hasFpsMode = false) =>
  pictureArguments({ ...trackOptions(source, video), binary: { hasFpsMode } });
const after = (args: string[], flag: string) => args[args.indexOf(flag) + 1];

test('the picture alone, word by word', () => {
  const video = { width: 640, height: 360, bitrate: 800_000, frameRate: 25 };
  expect(argsOf('v4l2:/dev/video0', video)).toEqual([
    ...['-hide_banner', '-nostats', '-loglevel', 'level+warning'],
    ...['-f', 'mpjpeg', '-i', 'pipe:0'],
    '-filter:v',
    "settb=1/1000,setpts='max(PREV_OUTPTS+1,(RTCTIME-1700000000000000)/1000)',select='if(isnan(prev_selected_t)+gte(t,ld(0)-0.02),st(0,if(isnan(prev_selected_t)+gt(t-ld(0),0.08),t,ld(0))+0.04)*0+1,0)',scale=640:360:force_original_aspect_ratio=decrease,pad=640:360:(ow-iw)/2:(oh-ih)/2,setsar=1,format=yuv420p",
    ...['-map', '0:v:0', '-vsync', 'passthrough', '-enc_time_base', '1:1000'],
    ...['-c:v', 'libx264', '-preset', 'ultrafast', '-tune', 'zerolatency', '-profile:v', 'baseline', '-bf', '0'],
    ...['-x264-params', 'fps=25', '-b:v', '800000', '-maxrate', '800000', '-bufsize', '400000'],
    ...['-g', '100', '-sc_threshold', '0'],
    ...['-force_key_frames', 'expr:if(isnan(prev_forced_t),1,gte(t,prev_forced_t+2-0.01))', ...flv],
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

test('a name with spaces stays one word', () => {
  expect(argsOf('screen::0 side')).toContain(':0 side');
});

test('a camera’s own H.264 is passed on', () => {
  const copy = { inputOptions: ['-f', 'h264'], url: 'pipe:0', outputOptions: ['-c:v', 'copy'] };
  const quietButRead = ['-hide_banner', '-nostats', '-loglevel', 'level+warning'];
  expect(passthroughRun(copy)).toEqual([...quietButRead, '-f', 'h264', '-i', 'pipe:0', '-c:v', 'copy', ...flv]);
  expect(passthroughRun({ ...copy, url: '/dev/video0' })).toContain('-nostdin');
});

test('the picture alone, by an encoder of the graphics chip, word by word', () => {
  const vaapi = videoEncoders.find(({ name }) => name === 'h264_vaapi');
  const options = trackOptions('v4l2:/dev/video0', { width: 640, height: 360, bitrate: 800_000, frameRate: 25 });
  expect(pictureArguments({ ...options, ...(vaapi ? { videoEncoder: vaapi } : {}) })).toEqual([
    ...['-hide_banner', '-nostats', '-loglevel', 'level+warning'],
    ...['-vaapi_device', '/dev/dri/renderD128', '-f', 'mpjpeg', '-i', 'pipe:0'],
    '-filter:v',
    "settb=1/1000,setpts='max(PREV_OUTPTS+1,(RTCTIME-1700000000000000)/1000)',select='if(isnan(prev_selected_t)+gte(t,ld(0)-0.02),st(0,if(isnan(prev_selected_t)+gt(t-ld(0),0.08),t,ld(0))+0.04)*0+1,0)',scale=640:360:force_original_aspect_ratio=decrease,pad=640:360:(ow-iw)/2:(oh-ih)/2,setsar=1,format=nv12,hwupload",
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
  const list = Buffer.from(inputs[0]?.at(-1)?.split(',')[1] ?? '', 'base64').toString();
  expect(list).toContain('inpoint 1.500\nduration 2.500\n');
  expect(after(runs[0] ?? [], '-filter:v')).toMatch(/^trim=start=0,fps=30,.*setpts=PTS\+2\.000\/TB,format=yuv420p$/);
  expect(after(runs[1] ?? [], '-filter:a')).toBe('atrim=start=0,asetpts=PTS+2.000/TB');
});

test('the sound of a silent file is silence, and its picture knows nothing of it', () => {
  const options = { ...trackOptions('file:/a.mp4'), hasAudio: false };
  expect(soundArguments(options).join(' ')).toContain('-re -probesize 32 -analyzeduration 0 -f lavfi -i anullsrc');
  expect(pictureArguments(options).join(' ')).not.toMatch(/anullsrc|aac/);
});
