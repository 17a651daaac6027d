/**
 * Puts together what an agent needs to update itself, from what `launch` has told it: its version's place, the folder that is
 * its own, the keys it trusts. An agent that was started in another way tells its version and refuses orders.
 */

import { join } from 'node:path';
import type { Clock } from '../../shared/clock.ts';
import type { Log } from '../../shared/log.ts';
import type { Secret } from '../../shared/secrets.ts';
import { claimFolder, isSomebodyElses } from './folder-claim.ts';
import { createReleaseDownload } from './release-download.ts';
import { readReleaseKeys } from './release-keys.ts';
import { createReleaseSlots } from './release-slots.ts';
import { slotDisk } from './slot-disk.ts';
import type { Place } from './slot-state.ts';
import { createUpdater, type Updater, type UpdaterOptions } from './updater.ts';

/** As scripts/package/files/launch says it by the environment. */
export interface LaunchFacts {
  place: Place;
  /** Undefined: the launcher could not tell; then the flashed version runs. */
  flashedVersion: string | undefined;
  isTrial: boolean;
  /** Whoever has started it starts it again when it ends. */
  isRestarted: boolean;
}

export interface AgentUpdatesOptions {
  clock: Clock;
  log: Log;
  /** Undefined: started without `launch`. */
  launch: LaunchFacts | undefined;
  /** Of the agent that runs. */
  version: string;
  architecture: string;
  /** `process.versions.node` */
  nodeVersion: string;
  releasesFolder: string;
  releaseKeysFolder: string;
  trialMs: number;
  end: (exitCode: number) => void;
}

/** What only the agent has. */
export interface UpdaterLink extends Pick<UpdaterOptions, 'send' | 'isIdle' | 'announce'> {
  relayUrl: string;
  coreToken: Secret;
}

export interface AgentUpdates {
  /** Once. */
  openUpdater(link: UpdaterLink): Updater;
  close(): void;
}

export async function openUpdates(options: AgentUpdatesOptions): Promise<AgentUpdates> {
  const { clock, log, launch, version, architecture, releasesFolder, trialMs, end } = options;
  const { keys, trouble } = readReleaseKeys(options.releaseKeysFolder);
  for (const reason of trouble) log.warn({ reason }, 'release-key-unfit');
  const claim = launch && (await claimFolder(releasesFolder));
  const flashedVersion = launch && launch.place !== 'flashed' ? (launch.flashedVersion ?? version) : version;
  const nodeMajor = Number(options.nodeVersion.split('.')[0]);
  const trust = { trustedKeys: keys, nodeMajor };
  const slots = createReleaseSlots({ disk: slotDisk, folder: releasesFolder, flashedVersion, ...trust });
  const hindrance = hindranceOf(launch, { hasKeys: keys.length > 0, hasFolder: claim !== undefined }, options);
  const facts = { version, place: launch?.place, isTrial: launch?.isTrial, hindrance };
  if (launch) log.info(facts, 'agent-version');
  else log.debug(facts, 'agent-version');
  return {
    openUpdater: ({ relayUrl, coreToken, ...link }) =>
      createUpdater({
        ...{ clock, log, slots, architecture, trialMs, hindrance, end, ...link },
        running: { place: launch?.place ?? 'flashed', version },
        isTrial: launch?.isTrial ?? false,
        download: createReleaseDownload({
          ...{ clock, log, relayUrl, coreToken, ...trust },
          partFile: join(releasesFolder, 'release.part'),
        }),
      }),
    close: () => claim?.release(),
  };
}

function hindranceOf(
  launch: LaunchFacts | undefined,
  { hasKeys, hasFolder }: { hasKeys: boolean; hasFolder: boolean },
  { releasesFolder, releaseKeysFolder }: AgentUpdatesOptions,
): string | undefined {
  if (!launch) return 'this agent was not started by its package, so update it where it comes from';
  if (launch.flashedVersion === undefined) return 'the launcher of this agent does not work; flash the package again';
  if (!launch.isRestarted) return 'this agent runs at a terminal, where nobody would start it again';
  if (!hasKeys) return `no release key is trusted here; put one into ${releaseKeysFolder}`;
  if (!hasFolder) return `another agent uses ${releasesFolder}`;
  if (isSomebodyElses(releasesFolder)) return `${releasesFolder} belongs to another user, and this agent is root`;
  return undefined;
}
