/**
 * The agent as a Debian package for one kind of board: what is in it and where it goes. Made without cross tools: the agent is one
 * file of JavaScript, Node and ffmpeg come from npm's registry. Same sources, version and zlib: same bytes.
 */
import { createHash } from 'node:crypto';
import { constants, existsSync } from 'node:fs';
import { access, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { SpawnChild } from '../../shared/child-process.ts';
import type { Clock } from '../../shared/clock.ts';
import { errorText, GlasscastError } from '../../shared/errors.ts';
import { releaseVersion } from '../../shared/release.ts';
import { bundleForDevice } from './agent-bundle.ts';
import { debianArchive, gzipped, type PackageEntry } from './debian-archive.ts';
import { manualPage } from './manual-page.ts';
import { copyrightFile } from './package-copyright.ts';
import { type DeviceArchitecture, runtimeOf as fetchedRuntime, type Runtime, runtimes } from './runtimes.ts';

export type { DeviceArchitecture } from './runtimes.ts';

export interface DevicePackageOptions {
  architecture: DeviceArchitecture;
  /** MAJOR.MINOR.PATCH */
  version: string;
  /** The agent as one file of JavaScript. Default: bundled from the sources here. */
  agentCode?: Uint8Array | undefined;
  /** What proves and chooses a version at each start. Default: as above. */
  launcherCode?: Uint8Array | undefined;
  /** Made when it is not there. */
  outFolder: string;
  /** Of what npm's registry gave. Default: in node_modules/.cache. */
  cacheFolder?: string | undefined;
  /** Where Node and ffmpeg come from. Default: npm's registry. */
  runtimeOf?: typeof fetchedRuntime | undefined;
  spawn: SpawnChild;
  clock: Clock;
  /** A line for people. */
  onProgress?: ((line: string) => void) | undefined;
}

export interface DevicePackage {
  file: string;
  architecture: DeviceArchitecture;
  version: string;
  bytes: number;
  sha256: string;
}

/** Where everything of ours lies on a board. */
const HOME = 'usr/lib/glasscast';
const DOC = 'usr/share/doc/glasscast-agent';
/** Of every file inside: the first day of 2026, UTC. It tells nothing, so that the same input gives the same bytes. */
const MODIFIED_S = 1_767_225_600;
const MAINTAINER = 'Glasscast maintainers <maintainers@glasscast.invalid>';
const LAUNCHER_ENTRY = 'device/updates/launcher.ts';

/** Node 22 and 20 ask for these symbols; ffmpeg is linked statically. Checked by test/hardware/device-package-contents.test.ts. */
const libraries: Readonly<Record<DeviceArchitecture, string>> = {
  amd64: 'libc6 (>= 2.28), libgcc-s1, libstdc++6 (>= 5)',
  arm64: 'libc6 (>= 2.28), libgcc-s1, libstdc++6 (>= 5)',
  armhf: 'libatomic1, libc6 (>= 2.28), libgcc-s1, libstdc++6 (>= 9)',
};

const scriptNames = ['preinst', 'postinst', 'prerm', 'postrm'] as const;
const pathOf = (fromRoot: string) => fileURLToPath(new URL(`../../${fromRoot}`, import.meta.url));
const sourceOf = (name: string) => readFile(pathOf(`scripts/package/files/${name}`));

/** Known before half a minute of work. */
async function requireFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
    await access(folder, constants.W_OK);
  } catch (error) {
    const way = 'make the package in another folder: npm run package:device -- --out FOLDER';
    throw new GlasscastError('INVALID_CONFIG', { reason: `${errorText(error)}; ${way}` });
  }
}

/**
 * Makes `glasscast-agent_VERSION_ARCHITECTURE.deb`, whole or not at all.
 * @throws GlasscastError INVALID_CONFIG: no such version, or nothing can be written there; RUNTIME_UNAVAILABLE: no Node or ffmpeg to be had
 */
export async function buildDevicePackage(options: DevicePackageOptions): Promise<DevicePackage> {
  const { architecture, version, outFolder, spawn, clock } = options;
  const { runtimeOf = fetchedRuntime, onProgress = () => {} } = options;
  if (!releaseVersion.safeParse(version).success) {
    throw new GlasscastError('INVALID_CONFIG', { reason: 'expected a version MAJOR.MINOR.PATCH, as 1.4.0' });
  }
  await requireFolder(outFolder);
  const startedMs = clock.monotonicMs();
  const cache = { folder: options.cacheFolder ?? pathOf('node_modules/.cache/glasscast'), spawn, onProgress };
  const node = await runtimeOf(runtimes[architecture].node, cache);
  const ffmpeg = await runtimeOf(runtimes[architecture].ffmpeg, cache);
  onProgress('Bundling the agent …');
  const entries = await entriesOf(options, { node, ffmpeg });
  onProgress(
    `Packing ${megabytes(entries.reduce((sum, entry) => sum + ('bytes' in entry ? entry.bytes.byteLength : 0), 0))} …`,
  );
  const scripts = await Promise.all(scriptNames.map(async (name) => [name, String(await sourceOf(name))] as const));
  const deb = await debianArchive({
    control: controlOf(architecture, version),
    scripts: Object.fromEntries(scripts),
    entries,
    modifiedS: MODIFIED_S,
  });
  const file = join(outFolder, `glasscast-agent_${version}_${architecture}.deb`);
  await replace(file, deb);
  onProgress(`${file}: ${megabytes(deb.byteLength)} in ${((clock.monotonicMs() - startedMs) / 1000).toFixed(1)} s`);
  return { file, architecture, version, bytes: deb.byteLength, sha256: createHash('sha256').update(deb).digest('hex') };
}

function controlOf(architecture: DeviceArchitecture, version: string): Record<string, string> {
  return {
    Package: 'glasscast-agent',
    Version: version,
    Architecture: architecture,
    Maintainer: MAINTAINER,
    Section: 'video',
    Priority: 'optional',
    Depends: `${libraries[architecture]}, systemd, udev`,
    // The board's own one, when it has what is needed, is preferred: it may know the board's encoder.
    Recommends: 'ca-certificates, ffmpeg',
    Suggests: 'alsa-utils, v4l-utils',
    Description: [
      'publishes what smart glasses see when the relay asks',
      ' The agent of Glasscast for the board inside the glasses: camera and microphone',
      ' become H.264 and AAC, pushed by RTMP to where the relay says. It lights the',
      ' privacy light while anything is captured, and makes the picture smaller while',
      ' uplink, heat or battery ask for it.',
      ' .',
      ' Holds its own Node.js and ffmpeg.',
    ].join('\n'),
  };
}

async function entriesOf(options: DevicePackageOptions, { node, ffmpeg }: { node: Runtime; ffmpeg: Runtime }) {
  const { version, architecture } = options;
  const program = 0o755 as const;
  const launcher = await launcherOf(options);
  const entries: PackageEntry[] = [
    { path: `${HOME}/agent.mjs`, bytes: options.agentCode ?? (await bundleForDevice({ version })) },
    ...(launcher ? [{ path: `${HOME}/launcher.mjs`, bytes: launcher }] : []),
    { path: `${HOME}/launch`, bytes: await sourceOf('launch'), mode: program },
    { path: `${HOME}/node`, bytes: node.program, mode: program },
    { path: `${HOME}/ffmpeg`, bytes: ffmpeg.program, mode: program },
    { path: `${HOME}/alsa.conf`, bytes: await sourceOf('alsa.conf') },
    { path: 'usr/bin/glasscast-agent', linkTo: '../lib/glasscast/launch' },
    { path: 'usr/lib/systemd/system/glasscast-agent.service', bytes: await sourceOf('glasscast-agent.service') },
    { path: 'usr/lib/udev/rules.d/70-glasscast.rules', bytes: await sourceOf('70-glasscast.rules') },
    { path: 'usr/share/glasscast/default', bytes: await sourceOf('default') },
    { path: 'usr/share/lintian/overrides/glasscast-agent', bytes: await sourceOf('lintian-overrides') },
    { path: 'usr/share/man/man8/glasscast-agent.8.gz', bytes: await gzipped(Buffer.from(manualPage(version))) },
    { path: `${DOC}/copyright`, bytes: Buffer.from(copyrightFile(runtimes[architecture])) },
    { path: `${DOC}/node-terms.gz`, bytes: await gzipped(node.licence ?? Buffer.of()) },
    { path: `${DOC}/changelog.gz`, bytes: await gzipped(Buffer.from(changelogOf(version))) },
    { path: 'etc/glasscast/release-keys', isFolder: true },
  ];
  return entries;
}

async function launcherOf({ version, launcherCode }: DevicePackageOptions): Promise<Uint8Array | undefined> {
  if (launcherCode || !existsSync(pathOf(LAUNCHER_ENTRY))) return launcherCode;
  return bundleForDevice({ version, entry: LAUNCHER_ENTRY });
}

function changelogOf(version: string): string {
  const date = new Date(MODIFIED_S * 1000).toUTCString().replace('GMT', '+0000');
  return `glasscast-agent (${version}) unstable; urgency=medium\n\n  * Version ${version}; what is new stands in the project's history.\n\n -- ${MAINTAINER}  ${date}\n`;
}

/** A build that is cut leaves the package of before. */
async function replace(file: string, bytes: Uint8Array): Promise<void> {
  const part = `${file}.${process.pid}.part`;
  try {
    await writeFile(part, bytes);
    await rename(part, file);
  } finally {
    await rm(part, { force: true });
  }
}

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
