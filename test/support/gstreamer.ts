/** GStreamer as an encoder that is not ffmpeg: by its own RTMP code (rtmp2sink) and by librtmp (rtmpsink), as OBS pushes. */
import { existsSync } from 'node:fs';
import { findOnPath } from '../../shared/child-process.ts';

const plugins = ['libgstflv.so', 'libgstvoaacenc.so', 'libgstx264.so', 'libgstrtmp.so', 'libgstrtmp2.so'];
const folders = ['x86_64', 'aarch64'].map((processor) => `/usr/lib/${processor}-linux-gnu/gstreamer-1.0`);

export function hasGstreamer(): boolean {
  const isWhole = folders.some((folder) => plugins.every((name) => existsSync(`${folder}/${name}`)));
  return isWhole && findOnPath('gst-launch-1.0') !== undefined;
}

/** 320x180 at 30 a second with a tone, for ever. */
export function gstreamerArgs(sink: 'rtmpsink' | 'rtmp2sink', target: string): string[] {
  const pipeline = [
    'videotestsrc is-live=true ! video/x-raw,format=I420,width=320,height=180,framerate=30/1',
    '! x264enc tune=zerolatency speed-preset=ultrafast bitrate=400 key-int-max=30 ! h264parse ! queue ! mux.',
    'audiotestsrc is-live=true ! audio/x-raw,rate=44100,channels=2 ! audioconvert ! voaacenc ! aacparse ! queue ! mux.',
    `flvmux name=mux streamable=true ! ${sink} location=`,
  ];
  const words = pipeline.join(' ').split(' ');
  return ['-q', ...words.slice(0, -1), `${words.at(-1)}${target}`];
}
