/**
 * A network namespace whose only way out is a veth pair that can be made narrow, or renumbered as when Wi-Fi becomes LTE.
 * Linux and root only. Named by this process's number and removed at the end, whatever the end is.
 */
import { GlasscastError } from '../../shared/errors.ts';
import type { Bench } from './program.ts';

export interface UplinkNamespace {
  /** Before a command line: runs it inside. */
  launcher: readonly string[];
  /** The outer side, reachable from every address inside: relay and ingest listen here. */
  host: string;
  /** What leaves the namespace, from now on. */
  shape(uplink: Uplink): Promise<void>;
  /** The address inside is taken away and one of another subnet given; nobody is told. */
  changeAddress(): Promise<void>;
}

/** Arguments of tc's token bucket: the kernel here has no netem. */
export type Uplink = keyof typeof uplinks;
export const uplinks = {
  /** Nobody's limit; the same qdisc, so that narrowing only changes a number. */
  free: 'tbf rate 100mbit burst 64kb latency 400ms',
  /** A queue of 400 ms, as modems have, then drops. */
  narrow: 'tbf rate 800kbit burst 16kb latency 400ms',
} as const;

/** @throws GlasscastError CHILD_START_FAILED when this is not root on Linux with ip and tc */
export async function createUplinkNamespace(bench: Bench): Promise<UplinkNamespace> {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) {
    throw new GlasscastError('CHILD_START_FAILED', {
      reason: 'network namespaces need Linux and root: run this as root',
    });
  }
  const name = `glasscast-bench-${process.pid}`;
  const [outer, inner] = [`gco${process.pid}`, `gci${process.pid}`];
  // Addresses of a private block that few networks use, by this process's number: several benches side by side do not meet.
  const block = `10.${200 + (Math.floor(process.pid / 256) % 50)}.${process.pid % 256}`;
  const subnets = [8, 16].map((first) => ({ gateway: `${block}.${first + 1}`, address: `${block}.${first + 2}` }));
  const host = `${block}.1`;
  const ip = (...args: string[]) => command(bench, 'ip', args);
  let current = 0;

  async function give(index: number): Promise<void> {
    const { address, gateway } = subnets[index] ?? { address: '', gateway: '' };
    await ip('-n', name, 'address', 'add', `${address}/29`, 'dev', inner);
    await ip('-n', name, 'route', 'replace', 'default', 'via', gateway);
  }
  await ip('netns', 'add', name);
  bench.defer(() => ip('netns', 'delete', name));
  await ip('link', 'add', outer, 'type', 'veth', 'peer', 'name', inner, 'netns', name);
  // Normally gone with the namespace; then there is nothing to delete.
  bench.defer(() => ip('link', 'delete', outer).catch(() => {}));
  for (const address of [`${host}/32`, ...subnets.map(({ gateway }) => `${gateway}/29`)]) {
    await ip('address', 'add', address, 'dev', outer);
  }
  await ip('link', 'set', outer, 'up');
  for (const link of ['lo', inner]) await ip('-n', name, 'link', 'set', link, 'up');
  await give(current);
  const shaping = (verb: string, uplink: Uplink) =>
    command(bench, 'tc', ['-n', name, 'qdisc', verb, 'dev', inner, 'root', ...uplinks[uplink].split(' ')]);
  await shaping('add', 'free');

  return {
    launcher: ['ip', 'netns', 'exec', name],
    host,
    shape: (uplink) => shaping('change', uplink),
    async changeAddress() {
      await ip('-n', name, 'address', 'del', `${subnets[current]?.address}/29`, 'dev', inner);
      current = 1 - current;
      await give(current);
    },
  };
}

async function command(bench: Bench, file: string, args: string[]): Promise<void> {
  const { code, lastLines, error } = await bench.spawn({ name: file, file, args, onStderrLine: bench.note }).exited;
  if (code === 0) return;
  const reason = `${file} ${args.join(' ')}: ${error?.message ?? lastLines.at(-1) ?? `exit code ${code}`}`;
  throw new GlasscastError('CHILD_START_FAILED', { reason });
}
