/** The project's own way of getting the agent onto a board, as the bench uses it: a package made from these sources, flashed. */
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Secret } from '../../shared/secrets.ts';
import type { Bench } from '../bench/program.ts';
import { flash } from '../flash/engine.ts';
import { settingsText } from '../flash/flash-order.ts';
import { createProgramRunner } from '../flash/host-programs.ts';
import { createImageBoard } from '../flash/image-board.ts';
import { buildDevicePackage, type DevicePackage } from '../package/device-package.ts';

export async function buildPackage(bench: Bench): Promise<DevicePackage> {
  const { spawn, clock, note } = bench;
  const text = await readFile(new URL('../../package.json', import.meta.url), 'utf8');
  const { version } = JSON.parse(text) as { version: string };
  const outFolder = join(bench.folder, 'package');
  return buildDevicePackage({ architecture: 'amd64', version, outFolder, spawn, clock, onProgress: note });
}

export interface ImageFlash {
  disk: string;
  package: DevicePackage;
  /** ws://…/glasses-ws as the board finds it. */
  relayUrl: string;
  /** Enrolment code, good once. */
  code: string;
  user: string;
  microphone: string;
  /** `key=value` */
  set: readonly string[];
}

/** `glasscast flash --image`. @throws GlasscastError FLASH_FAILED, BOARD_UNFIT */
export async function flashImage(bench: Bench, options: ImageFlash): Promise<void> {
  const { spawn, clock, redactor, signal, note } = bench;
  const { disk, relayUrl, microphone, set, user } = options;
  redactor.add(options.code);
  const board = await createImageBoard({ path: disk, run: createProgramRunner(spawn) });
  const { file, bytes, sha256, version } = options.package;
  const source = 'v4l2:auto';
  try {
    await flash({
      ...{ board, code: new Secret(options.code), relay: undefined, redactor, signal, nowMs: clock.now },
      ...{ wantsTestStream: false, isDryRun: false, newId: randomUUID, run: { deadlineSeconds: 120, gate: 'agent' } },
      order: { settings: settingsText({ relayUrl, source, microphone, set }), source, releaseKeys: new Map(), user },
      packageFor: async () => ({ path: file, bytes, sha256, version, architecture: 'amd64' }),
      tell: { step: (name, state, text) => note(`flash: ${name}: ${state}: ${text}`), progress: () => {} },
    });
  } finally {
    await board.close();
  }
}
