/**
 * Once before everything: the peers that tests are run against, found or installed from Debian's packages, or one line each
 * that says what is skipped.
 */
import type { TestProject } from 'vitest/node';
import { findChromium } from '../../scripts/bench/browser-play.ts';
import { nginxWithRtmp } from '../../scripts/bench/nginx-process.ts';
import { createChildSpawner, findOnPath } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { hasGstreamer } from './gstreamer.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** Path of a Chromium, or empty: browser tests are then skipped. */
    chromium: string;
  }
}

export interface Peer {
  packages: readonly string[];
  /** Which tests need it. */
  for: string;
  isThere: () => boolean;
  /** What no package can cure, asked when all is there. */
  machineRefuses?: () => string | undefined;
}

const peers: readonly Peer[] = [
  { packages: ['chromium'], for: 'browser tests', isThere: () => findChromium() !== undefined },
  {
    // The bundled ffmpeg knows no PulseAudio.
    packages: ['ffmpeg', 'pulseaudio', 'pulseaudio-utils'],
    for: 'sound of a microphone',
    isThere: () => ['ffmpeg', 'pulseaudio', 'pactl'].every((name) => findOnPath(name) !== undefined),
  },
  {
    packages: ['nginx-light', 'libnginx-mod-rtmp'],
    for: 'pushes to nginx-rtmp',
    isThere: () => nginxWithRtmp() !== undefined,
  },
  {
    // 55 MB. Its rtmpsink is librtmp, which OBS and many others push with.
    packages: ['tools', 'plugins-good', 'plugins-bad', 'plugins-ugly'].map((name) => `gstreamer1.0-${name}`),
    for: 'pushes of GStreamer and librtmp',
    isThere: hasGstreamer,
  },
];

export default async function setUp(project: TestProject): Promise<void> {
  await findOrInstall(peers);
  project.provide('chromium', findChromium() ?? '');
}

/** What is missing afterwards is told in one line each, or in CI an error. */
export async function findOrInstall(peers: readonly Peer[]): Promise<void> {
  const isMissing = ({ isThere }: Peer) => !isThere();
  const wanted = peers.filter(isMissing).flatMap(({ packages }) => packages);
  if (wanted.length > 0) await install(wanted);
  for (const peer of peers.filter(isMissing)) {
    const packages = peer.packages.join(' ');
    if (process.env.CI) throw new Error(`CI skips nothing, and ${packages} could not be installed`);
    say(`Skipped: ${peer.for}. For them install ${packages} (Debian: apt-get install ${packages}).`);
  }
  for (const { for: tests, machineRefuses, isThere } of peers) {
    const reason = isThere() ? machineRefuses?.() : undefined;
    if (reason) say(`Skipped: ${tests}: ${reason}.`);
  }
}

/** Debian and its kin, as root: nothing else can be installed without asking. */
async function install(packages: readonly string[]): Promise<void> {
  const apt = findOnPath('apt-get');
  if (!apt || process.getuid?.() !== 0) return;
  say(`Installing what the tests run against (apt-get install ${packages.join(' ')}) …`);
  const spawner = createChildSpawner({ clock: createSystemClock(), log: silentLog(), redactor: createRedactor() });
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const run = (...args: string[]) => spawner.spawn({ name: 'apt-get', file: apt, args, env }).exited;
  const tryInstall = () => run('install', '-qy', '--no-install-recommends', ...new Set(packages));
  let { code, lastLines } = await tryInstall();
  if (code !== 0) {
    // Lists that are old or not there: the rule on a bare machine, and then not again for the next set-up.
    await run('update', '-q');
    ({ code, lastLines } = await tryInstall());
  }
  if (code !== 0) say(`apt-get failed: ${lastLines.at(-1) ?? code}`);
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}
