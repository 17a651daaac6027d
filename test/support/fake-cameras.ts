/**
 * Cameras for machines without any: scripts under the names of v4l2-ctl, ffmpeg and rpicam-vid in a folder of their own, behind
 * which a real ffmpeg makes the pictures in real time.
 */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findOnPath } from '../../shared/child-process.ts';
import { bundledFfmpeg } from '../../shared/ffmpeg-binary.ts';

export interface FakeCameras {
  /** For `CameraSearch.folders`. */
  folders: { programs: string; devices: string; names: string };
  /** Makes an executable; `body` is a bash script. */
  program(name: string, body: string): string;
  /** Makes a device's node and its name; returns its path. */
  node(file: string, name: string): string;
  dispose(): void;
}

/** Both that must work: the system's, if there is one, and the bundled one. */
export const ffmpegFiles: string[] = [findOnPath('ffmpeg'), bundledFfmpeg()].filter((file) => file !== undefined);
const [ffmpegFile = 'ffmpeg'] = ffmpegFiles;

export function createFakeCameras(): FakeCameras {
  const root = mkdtempSync(join(tmpdir(), 'glasscast-cameras-'));
  const folders = { programs: join(root, 'bin'), devices: join(root, 'dev'), names: join(root, 'names') };
  for (const folder of Object.values(folders)) mkdirSync(folder);
  return {
    folders,
    program(name, body) {
      const file = join(folders.programs, name);
      writeFileSync(file, `#!/bin/bash\n${body}\n`);
      chmodSync(file, 0o755);
      return file;
    },
    node(file, name) {
      mkdirSync(join(folders.names, file), { recursive: true });
      writeFileSync(join(folders.names, file, 'name'), `${name}\n`);
      writeFileSync(join(folders.devices, file), '');
      return join(folders.devices, file);
    },
    dispose: () => rmSync(root, { recursive: true, force: true }),
  };
}

/** Reads `--name value` and `-name value` into variables. */
const READ_OPTIONS = `declare -A o; all=("$@")
while [ $# -gt 0 ]; do case "$1" in -*) o["\${1##*-}"]="$2";; esac; shift; done`;
const make = `${ffmpegFile} -nostdin -loglevel error -re -f lavfi`;
const h264 = '-c:v libx264 -preset ultrafast -tune zerolatency -profile:v baseline -x264-params repeat-headers=1';

/** An ffmpeg whose `-f v4l2` input is a test pattern in the format asked for; what stands behind the input is done for real. */
export const v4l2Ffmpeg = (realFile = ffmpegFile) => `${READ_OPTIONS}
[ -e "\${o[i]}" ] || { echo "[error] \${o[i]}: No such file or directory" >&2; exit 1; }
case "\${o[input_format]}" in
  mjpeg) codec="-c:v mjpeg -q:v 4";;
  h264) codec="${h264} -g 15";;
  *) codec="-c:v rawvideo -threads 1 -pix_fmt \${o[input_format]}";;
esac
for n in "\${!all[@]}"; do [ "\${all[$n]}" = -i ] && after=("\${all[@]:$((n + 2))}"); done
[ "\${o[use_wallclock_as_timestamps]}" ] && wall="-use_wallclock_as_timestamps 1"
exec ${realFile} -hide_banner -nostats -loglevel level+info $wall -f nut -i <(
  ${make} -i "testsrc2=size=\${o[video_size]}:rate=\${o[framerate]}" $codec -flush_packets 1 -f nut pipe:1 2>/dev/null
) "\${after[@]}"`;

/**
 * An ffmpeg for a whole agent: a real one, but for its v4l2 input. While `busyFile` exists that is used by another program;
 * without its node it is gone, also in the middle of a stream.
 */
export const agentFfmpeg = ({ realFile = ffmpegFile, busyFile = '/nowhere' } = {}) => `[[ " $* " = *" -f v4l2 "* ]] || \
  exec ${realFile} "$@"
${READ_OPTIONS}
node="\${o[i]}"
say() { echo "[video4linux2,v4l2 @ 0x5581] [error] $1" >&2; }
missing() { say "Cannot open video device $node: No such file or directory"; echo "[error] $node: No such file or directory" >&2; exit 1; }
[ -e "$node" ] || missing
[ -e ${busyFile} ] && { say "ioctl(VIDIOC_STREAMON): Device or resource busy"; echo "[error] $node: Device or resource busy" >&2; exit 1; }
self=$$
( while [ -e "$node" ]; do sleep 0.1; done
  say "ioctl(VIDIOC_DQBUF): No such device"; kill -INT $self ) < /dev/null > /dev/null &
set -- "\${all[@]}"
${v4l2Ffmpeg(realFile)}`;

/** An rpicam-vid that lists these cameras and sends a test pattern. */
export const rpicamVid = (list: string) => `[ "$1" = --list-cameras ] && { cat <<'END'
${list}
END
exit 0; }
${READ_OPTIONS}
if [ "\${o[codec]}" = h264 ]
then codec="${h264} -g \${o[intra]} -b:v \${o[bitrate]} -f h264"
else codec="-c:v rawvideo -threads 1 -pix_fmt yuv420p -f rawvideo"
fi
echo "#0 (0.00 fps) exp 33.00" >&2
exec ${make} -i "testsrc2=size=\${o[width]}x\${o[height]}:rate=\${o[framerate]}" $codec -flush_packets 1 pipe:1`;

/** A v4l2-ctl that prints a text by the node's name. */
export const v4l2Ctl = (listings: Record<string, string>) => `case "\${2##*/}" in
${Object.entries(listings)
  .map(([file, text]) => `${file}) cat <<'END'\n${text}\nEND\n;;`)
  .join('\n')}
*) echo "Cannot open device $2, exiting." >&2; exit 1;;
esac`;
