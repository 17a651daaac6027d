/**
 * Which version of the agent is started: asked by scripts/package/files/launch at each start, a program of its own that comes
 * with the package. Answers with one line, `run|trial flashed|a|b VERSION FLASHED_VERSION`, and writes a trial down first.
 * Whatever goes wrong, the flashed version runs: then the exit code is 1, and standard error says why.
 *
 *   launcher.mjs run RELEASES KEYS            what is started now
 *   launcher.mjs look RELEASES KEYS           the same for `status` and the like: changes nothing
 *   launcher.mjs confirmed RELEASES KEYS      exit code 0: no version is on trial (any more)
 *   launcher.mjs ended RELEASES KEYS REASON   the version on trial has failed
 */
import { writeSync } from 'node:fs';
import { errorText } from '../../shared/errors.ts';
import { agentVersion } from '../version.ts';
import { claimFolder, isSomebodyElses } from './folder-claim.ts';
import { readReleaseKeys } from './release-keys.ts';
import { createReleaseSlots, type SlotLaunch } from './release-slots.ts';
import { slotDisk } from './slot-disk.ts';

const [question = '', folder = '', keysFolder = '', reason = ''] = process.argv.slice(2);

function slotsHere() {
  const { keys, trouble } = readReleaseKeys(keysFolder);
  for (const line of trouble) say(line);
  const [nodeMajor = '0'] = process.versions.node.split('.');
  const flashedVersion = agentVersion;
  return createReleaseSlots({
    disk: slotDisk,
    folder,
    flashedVersion,
    trustedKeys: keys,
    nodeMajor: Number(nodeMajor),
  });
}

async function launchNow(): Promise<SlotLaunch> {
  if (isSomebodyElses(folder)) return flashed;
  if (question === 'look') return slotsHere().look();
  const claim = await claimFolder(folder);
  try {
    return claim ? slotsHere().start() : slotsHere().look();
  } finally {
    claim?.release();
  }
}

const flashed: SlotLaunch = {
  isTrial: false,
  placed: { place: 'flashed', version: agentVersion },
  trouble: undefined,
};

function say(text: string): void {
  process.stderr.write(`glasscast launcher: ${text}\n`);
}

/** @returns the exit code */
async function answer(): Promise<number> {
  switch (question) {
    case 'confirmed':
      return slotsHere().state().trial?.isStarted ? 1 : 0;
    case 'ended':
      slotsHere().fail(reason);
      return 0;
    case 'run':
    case 'look': {
      const { isTrial, placed, trouble } = await launchNow();
      if (trouble !== undefined) say(trouble);
      writeSync(1, `${isTrial ? 'trial' : 'run'} ${placed.place} ${placed.version} ${agentVersion}\n`);
      return 0;
    }
    default:
      throw new Error(`no question "${question}"`);
  }
}

try {
  process.exitCode = await answer();
} catch (error) {
  say(errorText(error));
  process.exitCode = 1;
}
