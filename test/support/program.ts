/** One of our programs as a child, as a user starts it; what it says is awaited, not slept for. */
import type { Child, ChildSpawner } from '../../shared/child-process.ts';

export interface Program {
  child: Child;
  /** Standard output. */
  lines: string[];
  /** The JSON lines of its log. */
  logged: Record<string, unknown>[];
  /** Settles when `find` finds something; looked at after each line. */
  until<T>(find: () => T | undefined): Promise<T>;
  /** First group of a pattern on standard output. */
  line(pattern: RegExp): Promise<string>;
}

export function startProgram(
  children: ChildSpawner,
  { file, env = {}, args = [] }: { file: string; env?: Record<string, string>; args?: string[] },
): Program {
  const lines: string[] = [];
  const logged: Record<string, unknown>[] = [];
  const waiting = new Set<() => void>();
  const wake = () => {
    for (const look of [...waiting]) look();
  };
  const child = children.spawn({
    name: file,
    file: process.execPath,
    // A .js file brings its own loader.
    args: [...(file.endsWith('.ts') ? ['--import', 'tsx'] : []), file, ...args],
    cwd: new URL('../..', import.meta.url).pathname,
    env: { PATH: process.env.PATH ?? '', ...env },
    stdout: 'lines',
    stopTimeoutMs: 15_000,
    onStdoutLine(line) {
      lines.push(line);
      wake();
    },
    onStderrLine(line) {
      if (line.startsWith('{')) logged.push(JSON.parse(line) as Record<string, unknown>);
      wake();
    },
  });
  const until = <T>(find: () => T | undefined): Promise<T> =>
    new Promise((resolve) => {
      const look = () => {
        const found = find();
        if (found === undefined) return;
        waiting.delete(look);
        resolve(found);
      };
      waiting.add(look);
      look();
    });
  const line = (pattern: RegExp) => until(() => lines.map((text) => pattern.exec(text)?.[1]).find(Boolean));
  return { child, lines, logged, line, until };
}
