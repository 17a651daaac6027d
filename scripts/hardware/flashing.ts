/** The project's own way of getting the agent onto a board, as the bench uses it: a package made from these sources, flashed. */
import { randomUUID } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Secret } from '../../shared/secrets.ts';
import type { Bench } from '../bench/program.ts';
import { flash } from '../flash/engine.ts';
import { packageFileOf, readReleaseKeys, type SettingsWish, settingsText } from '../flash/flash-order.ts';
import { createProgramRunner } from '../flash/host-programs.ts';
import { createImageBoard } from '../flash/image-board.ts';
import { bundleForDevice } from '../package/agent-bundle.ts';
import { buildDevicePackage, type DevicePackage } from '../package/device-package.ts';
import { keyOf, type Pieces } from './pieces.ts';

/** @param version default: of these sources. Made once as long as they do not change: packing takes half a minute. */
export async function buildPackage(bench: Bench, pieces: Pieces, version?: string): Promise<DevicePackage> {
  const { spawn, clock, note } = bench;
  const text = await readFile(new URL('../../package.json', import.meta.url), 'utf8');
  const wanted = version ?? (JSON.parse(text) as { version: string }).version;
  const [agentCode, launcherCode] = await Promise.all([
    bundleForDevice({ version: wanted }),
    bundleForDevice({ version: wanted, entry: LAUNCHER_ENTRY }),
  ]);
  const madeOf = [agentCode, launcherCode, ...(await packagingSources())].map((bytes) => keyOf([bytes.toString()]));
  const made = { architecture: 'amd64', version: wanted, agentCode, launcherCode } as const;
  const folder = await pieces.piece(`package-${wanted}`, madeOf, async (outFolder) => {
    await buildDevicePackage({ ...made, outFolder, spawn, clock, onProgress: note });
  });
  const file = join(folder, `glasscast-agent_${wanted}_amd64.deb`);
  const { bytes, sha256 } = await packageFileOf(file);
  return { file, architecture: 'amd64', version: wanted, bytes, sha256 };
}

const LAUNCHER_ENTRY = 'device/updates/launcher.ts';

async function packagingSources(): Promise<Buffer[]> {
  const folder = fileURLToPath(new URL('../package', import.meta.url));
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return Promise.all(files.sort().map((file) => readFile(file)));
}

export interface ImageFlash {
  disk: string;
  package: DevicePackage;
  /** ws://…/glasses-ws as the board finds it. */
  relayUrl: string;
  /** Enrolment code, good once. */
  code: string;
  user: string;
  /** Public keys whose updates it takes. */
  releaseKeyFiles: readonly string[];
}

/** Of the agent on the board: the camera and the sound card that the kernel pretends, the light of the virtual keyboard. */
export function boardSettings(relayUrl: string): SettingsWish & { source: string } {
  const set = [`privacyLight=led:${LIGHT}`, `updateTrialMs=${TRIAL_MS}`];
  return { relayUrl, source: 'v4l2:auto', microphone: MICROPHONE, set };
}

/** Long enough for an emulated processor to start a good version, short enough to wait for a mute one. */
const TRIAL_MS = 60_000;
/** The virtual keyboard's scroll lock: a light of the kernel's whose other end QEMU shows. */
export const LIGHT = 'input0::scrolllock';
/** The other end of the loopback sound card, which plays nothing: real samples of silence, by the card's clock. */
const MICROPHONE = 'alsa:plughw:CARD=Loopback,DEV=1';

/** `glasscast flash --image`. @throws GlasscastError FLASH_FAILED, BOARD_UNFIT */
export async function flashImage(bench: Bench, options: ImageFlash): Promise<void> {
  const { spawn, clock, redactor, signal, note } = bench;
  const { disk, relayUrl, user, releaseKeyFiles } = options;
  const order = boardSettings(relayUrl);
  redactor.add(options.code);
  const board = await createImageBoard({ path: disk, run: createProgramRunner(spawn) });
  const { file, bytes, sha256, version } = options.package;
  try {
    await flash({
      ...{ board, code: new Secret(options.code), relay: undefined, redactor, signal, nowMs: clock.now },
      ...{ wantsTestStream: false, isDryRun: false, newId: randomUUID, run: { deadlineSeconds: 120, gate: 'agent' } },
      order: {
        ...{ settings: settingsText(order), source: order.source, user },
        releaseKeys: readReleaseKeys(releaseKeyFiles),
      },
      packageFor: async () => ({ path: file, bytes, sha256, version, architecture: 'amd64' }),
      tell: { step: (name, state, text) => note(`flash: ${name}: ${state}: ${text}`), progress: () => {} },
    });
  } finally {
    await board.close();
  }
}
