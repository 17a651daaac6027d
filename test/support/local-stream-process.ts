/** The local Stream as a process of its own, on free ports, with the books that the kernel keeps of it. Ended when the test is finished. */
import { onTestFinished } from 'vitest';
import type { LocalStreamReady } from '../../cloud/local-stream/main.ts';
import { descriptorsOf, type ProcessUse, processUse } from '../../scripts/bench/process-use.ts';
import { type Child, createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import { type ApiClient, apiClient, temporaryFolder } from './local-stream-world.ts';

export interface LocalStreamProcess extends ApiClient {
  ready: LocalStreamReady;
  child: Child;
  pid: number;
  /** What it wrote on standard error. */
  lines: string[];
  use(): Promise<ProcessUse & { descriptors: number }>;
}

export async function startLocalStreamProcess(flags: string[] = []): Promise<LocalStreamProcess> {
  const spawner = createChildSpawner({ clock: createSystemClock(), log: silentLog(), redactor: createRedactor() });
  onTestFinished(() => spawner.close());
  const lines: string[] = [];
  let tell: (ready: LocalStreamReady) => void = () => {};
  const saysReady = new Promise<LocalStreamReady>((resolve) => {
    tell = resolve;
  });
  const ports = ['--http-port', '0', '--rtmp-port', '0', '--data-dir', temporaryFolder(), '--log-level', 'warn'];
  const child = spawner.spawn({
    name: 'local-stream',
    file: process.execPath,
    args: ['--import', './scripts/typescript.js', 'cloud/local-stream/main.ts', ...ports, ...flags],
    ipc: true,
    onStderrLine: (line) => void lines.push(line),
    onMessage: (message) => tell(message as LocalStreamReady),
  });
  const failed = child.exited.then(() => {
    throw new Error(`the local Stream ended: ${lines.join('\n')}`);
  });
  failed.catch(() => {});
  const ready = await Promise.race([saysReady, failed]);
  const pid = child.pid ?? 0;
  return {
    ...apiClient({ ...ready, apiToken: new Secret(ready.apiToken) }, ready.apiToken),
    ...{ ready, child, pid, lines },
    use: async () => ({ ...(await processUse(pid)), descriptors: await descriptorsOf(pid) }),
  };
}
