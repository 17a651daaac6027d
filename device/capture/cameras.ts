/**
 * Which cameras this machine has and what each can deliver. Asks v4l2-ctl (or ffmpeg, which knows no rates) and rpicam-vid;
 * takes no picture, opens no stream.
 */
import { access, constants, readdir, readFile, realpath } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { findOnPath, type SpawnChild } from '../../shared/child-process.ts';
import { type Clock, withTimeout } from '../../shared/clock.ts';
import { asGlasscastError, GlasscastError } from '../../shared/errors.ts';
import type { FfmpegBinary } from '../../shared/ffmpeg-binary.ts';
import {
  type CameraMode,
  isNoCamera,
  PI_ENCODER,
  parseFfmpegFormats,
  parseLibcameraList,
  parseV4l2Ctl,
} from './camera-listings.ts';

/** What a capture source names: `v4l2:/dev/video0`, `libcamera:0`. */
export interface CameraName {
  driver: 'v4l2' | 'libcamera';
  /** `/dev/videoN` or a link to it; of libcamera its number. */
  device: string;
}

export interface Camera extends CameraName {
  /** "HD Pro Webcam C920", "imx708_wide". */
  name: string;
  modes: CameraMode[];
  /** Another name of the device, which it keeps when plugged in again: `/dev/v4l/by-id/…`. */
  lastingDevice?: string;
  /** Why nothing more is known of a camera that is there: CAPTURE_FORBIDDEN, CAMERA_BUSY. Its modes are then empty. */
  cause?: GlasscastError;
}

export interface CameraSearch {
  spawn: SpawnChild;
  clock: Clock;
  binary: Pick<FfmpegBinary, 'file' | 'inputs'>;
  folders?: CameraFolders;
}

export interface CameraFolders {
  /** Where v4l2-ctl and rpicam-vid are looked for, as in PATH. Default: ours. */
  programs?: string;
  /** Default /dev. */
  devices?: string;
  /** Default /sys/class/video4linux. */
  names?: string;
}

const LOOK_TIMEOUT_MS = 5_000;
const VIDEO_NAMES = '/sys/class/video4linux';
/** libcamera's programs, the present name first. */
const LIBCAMERA_PROGRAMS = ['rpicam-vid', 'libcamera-vid'] as const;

/** All cameras, V4L2 by number, then libcamera's. One that cannot be asked is listed with its cause; never rejects for it. */
export async function listCameras(search: CameraSearch): Promise<Camera[]> {
  const folder = search.folders?.devices ?? '/dev';
  const numbers = (await readdir(folder).catch(() => [])).flatMap((file) => /^video(\d+)$/.exec(file)?.[1] ?? []);
  const devices = numbers.map(Number).sort((a, b) => a - b);
  const looks = devices.map((number) => lookOrCause(join(folder, `video${number}`), search));
  const [v4l2, libcamera] = await Promise.all([Promise.all(looks), listLibcamera(search).catch(() => [])]);
  const lasting = await lastingNames(folder);
  const named = v4l2
    .filter((camera) => camera !== undefined)
    .map((camera) => ({ ...camera, ...lasting.get(camera.device) }));
  return [...named, ...libcamera];
}

/** By device. Numbers are given in the order of plugging in; udev keeps a name by maker and serial number. */
async function lastingNames(folder: string): Promise<Map<string, { lastingDevice: string }>> {
  const byId = join(folder, 'v4l', 'by-id');
  const files = await readdir(byId).catch(() => []);
  const pairs = files.map(async (file) => {
    const lastingDevice = join(byId, file);
    return [await realpath(lastingDevice).catch(() => ''), { lastingDevice }] as const;
  });
  return new Map(await Promise.all(pairs));
}

/**
 * The camera a source names; of `v4l2:auto` the first that has a mode which can be used.
 * @param passedOver devices that `auto` takes only when there is no other: that a camera is in use shows only when it runs.
 * @throws GlasscastError CAMERA_NOT_FOUND, CAPTURE_FORBIDDEN, CAMERA_BUSY
 */
export async function findCamera(
  { driver, device }: CameraName,
  search: CameraSearch,
  passedOver: ReadonlySet<string> = new Set(),
): Promise<Camera> {
  if (driver === 'libcamera') {
    const found = (await listLibcamera(search)).find((camera) => camera.device === device);
    if (found) return found;
    throw new GlasscastError('CAMERA_NOT_FOUND', { reason: `libcamera:${device}` });
  }
  if (device !== 'auto') {
    const camera = await lookAtV4l2(device, search);
    if (camera) return camera;
    throw new GlasscastError('CAMERA_NOT_FOUND', { reason: `${device} takes no pictures` });
  }
  const cameras = (await listCameras(search)).filter((camera) => camera.driver === 'v4l2');
  const usable = cameras.filter(({ modes }) => modes.length > 0);
  const found = usable.find((camera) => !passedOver.has(camera.device)) ?? usable[0];
  if (found) return found;
  throw cameras[0]?.cause ?? new GlasscastError('CAMERA_NOT_FOUND', { reason: 'no /dev/video* that takes pictures' });
}

/** Full path of libcamera's program, present or older name; undefined: not installed. */
export function findLibcameraProgram(programs?: string): string | undefined {
  return LIBCAMERA_PROGRAMS.map((name) => findOnPath(name, programs)).find((file) => file !== undefined);
}

/**
 * Whether this process may open a V4L2 device. Says nothing of who else uses it.
 * @throws GlasscastError CAMERA_NOT_FOUND, CAPTURE_FORBIDDEN
 */
async function checkV4l2Access(device: string): Promise<void> {
  try {
    await access(device, constants.R_OK | constants.W_OK);
  } catch (cause) {
    throw refusalOfNode(device, cause);
  }
}

/** What it means that a device's node could not be opened or looked at. */
export function refusalOfNode(device: string, cause: unknown): GlasscastError {
  const { code } = cause as NodeJS.ErrnoException;
  if (code === 'EBUSY') return new GlasscastError('CAMERA_BUSY', { reason: device, cause });
  const isForbidden = code === 'EACCES' || code === 'EPERM';
  return new GlasscastError(isForbidden ? 'CAPTURE_FORBIDDEN' : 'CAMERA_NOT_FOUND', { reason: device, cause });
}

async function lookOrCause(device: string, search: CameraSearch): Promise<Camera | undefined> {
  try {
    return await lookAtV4l2(device, search);
  } catch (error) {
    const cause = asGlasscastError(error);
    // Gone since the folder was read, or no camera at all.
    if (cause.code === 'CAMERA_NOT_FOUND') return undefined;
    const name = await nameInSys(device, search);
    return isNoCamera(name) ? undefined : { driver: 'v4l2', device, name, modes: [], cause };
  }
}

/** Undefined: a node that is no camera. */
async function lookAtV4l2(device: string, search: CameraSearch): Promise<Camera | undefined> {
  await checkV4l2Access(device);
  const program = findOnPath('v4l2-ctl', search.folders?.programs);
  const sysName = await nameInSys(device, search);
  if (program) {
    const lines = await linesOf(program, ['--device', device, '--info', '--list-formats-ext'], search);
    refuseBusy(lines, device);
    const { name, isCamera, modes } = parseV4l2Ctl(lines);
    return isCamera ? { driver: 'v4l2', device, name: name || sysName, modes } : undefined;
  }
  if (isNoCamera(sysName)) return undefined;
  if (!search.binary.inputs.has('v4l2')) {
    const reason = `${device}: neither v4l2-ctl nor this ffmpeg can ask it; install v4l-utils`;
    throw new GlasscastError('CAMERA_NOT_FOUND', { reason });
  }
  const args = ['-hide_banner', '-nostdin', '-f', 'v4l2', '-list_formats', 'all', '-i', device];
  const lines = await linesOf(search.binary.file, args, search);
  refuseBusy(lines, device);
  const modes = parseFfmpegFormats(lines);
  return modes.length > 0 ? { driver: 'v4l2', device, name: sysName, modes } : undefined;
}

function refuseBusy(lines: readonly string[], device: string): void {
  if (lines.some((line) => /device or resource busy/i.test(line))) {
    throw new GlasscastError('CAMERA_BUSY', { reason: device });
  }
}

async function nameInSys(device: string, { folders }: CameraSearch): Promise<string> {
  // `/dev/v4l/by-id/…` is a link to the node.
  const node = basename(await realpath(device).catch(() => device));
  const file = join(folders?.names ?? VIDEO_NAMES, node, 'name');
  return (await readFile(file, 'utf8').catch(() => '')).trim();
}

async function listLibcamera(search: CameraSearch): Promise<Camera[]> {
  const program = findLibcameraProgram(search.folders?.programs);
  if (!program) return [];
  const [lines, hasEncoder] = await Promise.all([linesOf(program, ['--list-cameras'], search), hasPiEncoder(search)]);
  return parseLibcameraList(lines, hasEncoder).map(({ index, name, modes }) => ({
    ...{ driver: 'libcamera' as const, device: String(index), name, modes },
  }));
}

async function hasPiEncoder({ folders }: CameraSearch): Promise<boolean> {
  const folder = folders?.names ?? VIDEO_NAMES;
  const nodes = await readdir(folder).catch(() => []);
  const names = await Promise.all(nodes.map((node) => readFile(join(folder, node, 'name'), 'utf8').catch(() => '')));
  return names.some((name) => name.trim() === PI_ENCODER);
}

/** Standard output and error together: rpicam-vid and ffmpeg list on the one or the other, by version. */
async function linesOf(file: string, args: string[], { spawn, clock }: CameraSearch): Promise<string[]> {
  const lines: string[] = [];
  const take = (line: string) => void lines.push(line);
  const child = spawn({ name: 'camera-look', file, args, stdout: 'lines', onStdoutLine: take, onStderrLine: take });
  const slow = () => new GlasscastError('CAMERA_BUSY', { reason: `${file} does not answer` });
  try {
    await withTimeout(clock, 'camera-look', LOOK_TIMEOUT_MS, child.exited, slow);
    return lines;
  } finally {
    void child.stop();
  }
}
