/** What a process costs, from the kernel's books in /proc. Linux only; elsewhere there is nothing to read. */
import { readdir, readFile } from 'node:fs/promises';

export interface ProcessUse {
  /** User and system time of all its threads since its start. */
  cpuMs: number;
  rssMb: number;
  threads: number;
}

/** Of what `/proc` calls clock ticks; 100 a second on every Linux (USER_HZ). */
const MS_PER_TICK = 10;

/** Reads `/proc/PID/stat`; the name in brackets may hold spaces and brackets, so fields count from the last one. */
export function parseStat(text: string, pageBytes = 4096): ProcessUse {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const field = (numberInManual: number) => Number(fields[numberInManual - 3] ?? 0);
  return {
    cpuMs: (field(14) + field(15)) * MS_PER_TICK,
    threads: field(20),
    rssMb: (field(24) * pageBytes) / 2 ** 20,
  };
}

export async function processUse(pid: number): Promise<ProcessUse> {
  return parseStat(await readFile(`/proc/${pid}/stat`, 'utf8'));
}

/** Processes that this one has started and that still run. */
export async function childrenOf(pid: number): Promise<number[]> {
  const tasks = await readdir(`/proc/${pid}/task`);
  const lists = await Promise.all(tasks.map((task) => readFile(`/proc/${pid}/task/${task}/children`, 'utf8')));
  return lists.flatMap((list) => list.trim().split(/\s+/).filter(Boolean).map(Number));
}
