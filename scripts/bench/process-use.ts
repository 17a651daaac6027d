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

/**
 * Time on a processor of all threads that it has now, in nanoseconds' precision: what a light server takes is lost in ticks.
 * `/proc/PID/task/TID/schedstat`, first number; kernels without it have none.
 */
export async function scheduledMs(pid: number): Promise<number> {
  const tasks = await readdir(`/proc/${pid}/task`);
  const lines = await Promise.all(tasks.map((task) => readFile(`/proc/${pid}/task/${task}/schedstat`, 'utf8')));
  return lines.reduce((sum, line) => sum + Number(line.split(' ')[0]), 0) / 1e6;
}

/** Processes that this one has started and that still run. */
export async function childrenOf(pid: number): Promise<number[]> {
  const tasks = await readdir(`/proc/${pid}/task`);
  const lists = await Promise.all(tasks.map((task) => readFile(`/proc/${pid}/task/${task}/children`, 'utf8')));
  return lists.flatMap((list) => list.trim().split(/\s+/).filter(Boolean).map(Number));
}

/** One process for its whole life: a number is given again, together with its start it is not. */
export interface ProcessMark {
  pid: number;
  /** Clock ticks from the machine's start to its own. */
  startTicks: number;
  /** Its command line, cut. */
  command: string;
}

/** Undefined when it is gone; what has ended and was not yet collected counts as gone. */
export async function markOf(pid: number): Promise<ProcessMark | undefined> {
  try {
    const [stat, words] = await Promise.all([
      readFile(`/proc/${pid}/stat`, 'utf8'),
      readFile(`/proc/${pid}/cmdline`, 'utf8'),
    ]);
    const [state, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (state === 'Z') return undefined;
    // Field 22 of the manual; the first of `fields` is number 4.
    return { pid, startTicks: Number(fields[18]), command: words.replaceAll('\0', ' ').trim().slice(0, 4000) };
  } catch {
    return undefined;
  }
}

/** All that this process has started, and what these have, at this moment. */
export async function descendantsOf(pid: number): Promise<ProcessMark[]> {
  const pids = await childrenOf(pid).catch(() => []);
  const marks = (await Promise.all(pids.map(markOf))).filter((mark) => mark !== undefined);
  const below = await Promise.all(pids.map(descendantsOf));
  return [...marks, ...below.flat()];
}

/** Those that still run. */
export async function stillRunning(marks: readonly ProcessMark[]): Promise<ProcessMark[]> {
  const now = await Promise.all(marks.map(({ pid }) => markOf(pid)));
  return marks.filter(({ startTicks }, index) => now[index]?.startTicks === startTicks);
}

export async function descriptorsOf(pid: number): Promise<number> {
  return (await readdir(`/proc/${pid}/fd`)).length;
}
