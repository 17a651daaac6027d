/**
 * A board on which the agent is installed as its package does it, in a folder: `launch`, the launcher and the flashed agent,
 * kept running by an init as small as can be; and a power cut for its processes. Linux only.
 */

import { readdirSync, readFileSync } from 'node:fs';
import { copyFile, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Child, SpawnChild } from '../../shared/child-process.ts';
import type { ReleaseShop } from './release-shop.ts';

export interface UpdateBoardOptions {
  spawn: SpawnChild;
  shop: ReleaseShop;
  /** Is made. */
  folder: string;
  flashedVersion: string;
  relayUrl: string;
  ffmpegFile: string;
  trialMs: number;
  onLine?: (line: string) => void;
}

export interface UpdateBoard {
  releasesFolder: string;
  /** What launch, launcher and agent said on standard error. */
  lines: readonly string[];
  /** Exit codes of all starts that ended by themselves. */
  exitCodes: readonly (number | null)[];
  /** Begins to keep it running. */
  start(): void;
  /** Beside it, as somebody by mistake might; ends with the spawner. */
  runAnother(): void;
  /** Of launch, which mostly has become the agent. */
  readonly pid: number | undefined;
  /** Pids of everything that runs there. */
  tree(): number[];
  /** Every process ends at once, and none is started again. */
  cutPower(): Promise<void>;
  /** As an init does it: SIGTERM to launch. @returns its exit code */
  stop(): Promise<number | null>;
}

const launchFile = fileURLToPath(new URL('../package/files/launch', import.meta.url));

export async function makeUpdateBoard(options: UpdateBoardOptions): Promise<UpdateBoard> {
  const { spawn, shop, folder, flashedVersion } = options;
  const home = join(folder, 'home');
  const keysFolder = join(folder, 'keys');
  const releasesFolder = join(folder, 'releases');
  await mkdir(home, { recursive: true });
  await mkdir(keysFolder);
  await writeFile(join(keysFolder, 'test.pem'), shop.publicKeyPem);
  await copyFile(launchFile, join(home, 'launch'));
  await symlink(process.execPath, join(home, 'node'));
  await writeFile(join(home, 'agent.mjs'), shop.agentCode(flashedVersion));
  await writeFile(join(home, 'launcher.mjs'), shop.launcherCode(flashedVersion));
  const env = {
    PATH: process.env.PATH ?? '',
    GLASSCAST_HOME: home,
    GLASSCAST_AGENT_RELEASE_KEYS_FOLDER: keysFolder,
    GLASSCAST_AGENT_RELEASES_FOLDER: releasesFolder,
    GLASSCAST_AGENT_UPDATE_TRIAL_MS: String(options.trialMs),
    GLASSCAST_AGENT_RELAY_URL: options.relayUrl,
    GLASSCAST_AGENT_CORE_TOKEN: 'the-core-token-of-ada',
    GLASSCAST_AGENT_STATUS_SOCKET: 'none',
    FFMPEG_PATH: options.ffmpegFile,
  };
  const lines: string[] = [];
  const exitCodes: (number | null)[] = [];
  let child: Child | undefined;
  let isKept = false;

  const launch = () =>
    spawn({
      name: 'board',
      file: '/bin/sh',
      args: [join(home, 'launch'), 'run'],
      env,
      stopSignal: 'SIGTERM',
      stopTimeoutMs: 10_000,
      onStderrLine(line) {
        lines.push(line);
        options.onLine?.(line);
      },
    });
  function run(): void {
    const started = launch();
    child = started;
    void started.exited.then(({ code }) => {
      if (!isKept || child !== started) return;
      exitCodes.push(code);
      run();
    });
  }

  return {
    releasesFolder,
    lines,
    exitCodes,
    get pid() {
      return child?.pid;
    },
    runAnother: () => void launch(),
    start() {
      isKept = true;
      run();
    },
    tree: () => (child?.pid === undefined ? [] : treeOf(child.pid)),
    async cutPower() {
      isKept = false;
      const pids = child?.pid === undefined ? [] : stopped(child.pid);
      for (const pid of pids) signal(pid, 'SIGKILL');
      await child?.exited;
      while (pids.some(isAlive)) await new Promise((resolve) => setImmediate(resolve));
    },
    async stop() {
      isKept = false;
      return (await child?.stop())?.code ?? null;
    },
  };
}

/** So that none starts another one meanwhile. */
function stopped(root: number): number[] {
  for (let known = 0; ; ) {
    const pids = treeOf(root);
    for (const pid of pids) signal(pid, 'SIGSTOP');
    if (pids.length === known) return pids;
    known = pids.length;
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has ended.
  }
}

export function isAlive(pid: number): boolean {
  const fields = statOf(pid);
  return fields !== undefined && !/^[ZX]/.test(fields);
}

function treeOf(root: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    const parent = pid > 0 ? Number(statOf(pid)?.split(' ')[1]) : Number.NaN;
    if (parent > 0) parents.set(pid, parent);
  }
  const below = (pid: number): number[] => [...parents].flatMap(([child, parent]) => (parent === pid ? [child] : []));
  const all = (pid: number): number[] => [pid, ...below(pid).flatMap(all)];
  return all(root);
}

/** From its state on; undefined: no such process. */
function statOf(pid: number): string | undefined {
  try {
    return /^\d+ \(.*\) (.*)/s.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1];
  } catch {
    return undefined;
  }
}
