/** `glasscast release`: the key that signs releases of the agent, building them, and what of them the relay keeps. */
import { createHash, createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { readFile, stat, unlink, writeFile } from 'node:fs/promises';
import type { Command } from 'commander';
import * as z from 'zod';
import { errorText, GlasscastError } from '../../shared/errors.ts';
import { AGENT_RELEASES_PATH } from '../../shared/protocol/releases.ts';
import { MAX_RELEASE_BYTES, readReleaseHead, releaseVersion, sealRelease } from '../../shared/release.ts';
import { type Cli, type Run, segment } from './commands.ts';

const release = z.looseObject({
  version: z.string(),
  bytes: z.number(),
  sha256: z.string(),
  publishedAt: z.string(),
});
const releaseList = z.looseObject({ releases: z.array(release) });

const KEY_FILE = 'glasscast-release.key';
/** What the bundle is made for. */
const MIN_NODE = 20;

export function addReleaseCommands(program: Command, run: Run): void {
  const releases = program.command('release').description('versions of the agent, for glasses that update themselves');
  releases
    .command('key')
    .description('make the key that signs releases; its public half goes onto the glasses, and may go to the relay')
    .option('--out <file>', 'where the private key goes; the public one stands beside it', KEY_FILE)
    .action(run(makeKey));
  releases
    .command('build')
    .description('the agent as it is here, as one signed file')
    .requiredOption('--version <version>', 'what it is called, as 1.4.0')
    .requiredOption('--key <file>', 'private key, of "glasscast release key"')
    .option('--out <file>', 'default: glasscast-agent-VERSION.release')
    .action(run(build));
  releases
    .command('publish <file>')
    .description('give it to the relay; glasses get it by a roll-out')
    .action(run(publish));
  releases.command('list').description('the releases that the relay keeps').action(run(list));
  releases
    .command('remove <version>')
    .description('the relay forgets it; not while a roll-out gives it')
    .action(run(remove));
}

async function makeKey({ terminal }: Cli, { out }: { out: string }): Promise<void> {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const publicFile = out.endsWith('.key') ? `${out.slice(0, -'.key'.length)}.pem` : `${out}.pub.pem`;
  await writeNew(out, privateKey.export({ type: 'pkcs8', format: 'pem' }), 0o600);
  try {
    await writeNew(publicFile, publicKey.export({ type: 'spki', format: 'pem' }), 0o644);
  } catch (error) {
    // Half a pair is of no use, and would be in the way of the next try.
    await unlink(out);
    throw error;
  }
  terminal.result({ privateKey: out, publicKey: publicFile }, [
    `${out} signs releases: keep it away from the relay and from the glasses, and keep a copy of it.`,
    `${publicFile} goes onto the glasses: "glasscast flash … --release-key ${publicFile}" puts it into /etc/glasscast/release-keys/.`,
  ]);
}

async function writeNew(file: string, text: string | Buffer, mode: number): Promise<void> {
  try {
    await writeFile(file, text, { flag: 'wx', mode });
  } catch (error) {
    const isThere = error instanceof Error && 'code' in error && error.code === 'EEXIST';
    const reason = isThere ? `${file} is there already, and a key is not written over` : errorText(error);
    throw new GlasscastError('INVALID_CONFIG', { reason });
  }
}

interface Building {
  version: string;
  key: string;
  out?: string;
}

async function build({ terminal }: Cli, { version, key, out = `glasscast-agent-${version}.release` }: Building) {
  if (!releaseVersion.safeParse(version).success) {
    throw new GlasscastError('INVALID_CONFIG', { reason: '--version: expected MAJOR.MINOR.PATCH, as 1.4.0' });
  }
  const privateKey = privateKeyOf(key, await readInput(key));
  if (((await stat(key)).mode & 0o077) !== 0) terminal.note(`${key} can be read by others here: chmod 600 ${key}`);
  // The one command with a bundler: the others start without it.
  const { bundleForDevice } = await import('../package/agent-bundle.ts');
  const code = await bundleForDevice({ version });
  const file = sealRelease({ version, minNode: MIN_NODE, code, privateKey });
  await writeFile(out, file).catch((error: unknown) => {
    throw new GlasscastError('INVALID_CONFIG', { reason: errorText(error) });
  });
  const sha256 = hashOf(file);
  terminal.result({ file: out, version, bytes: file.length, codeBytes: code.byteLength, minNode: MIN_NODE, sha256 }, [
    `${out}: ${kilobytes(file.length)}, unpacked ${kilobytes(code.byteLength)}, for Node ${MIN_NODE} and later.`,
    `SHA-256 ${sha256}`,
  ]);
}

function privateKeyOf(file: string, pem: Buffer): KeyObject {
  try {
    const key = createPrivateKey(pem);
    if (key.asymmetricKeyType === 'ed25519') return key;
  } catch {
    // Its words could quote the key.
  }
  throw new GlasscastError('INVALID_CONFIG', {
    reason: `${file} is no private Ed25519 key; "glasscast release key" makes one`,
  });
}

async function publish({ api, terminal }: Cli, file: string): Promise<void> {
  const bytes = await readInput(file);
  const version = versionOf(bytes);
  if (version === undefined) {
    throw new GlasscastError('RELEASE_REFUSED', {
      reason: `${file} is no release file; "glasscast release build" makes one`,
    });
  }
  const kept = await api.upload(`${AGENT_RELEASES_PATH}/${segment(version)}`, bytes, release);
  if (kept.sha256 !== hashOf(bytes)) {
    throw new GlasscastError('RELEASE_REFUSED', { reason: 'the relay has other bytes than were sent' });
  }
  terminal.result(kept, [`${version} is published; "glasscast device update ${version}" rolls it out.`]);
}

function versionOf(file: Buffer): string | undefined {
  try {
    return readReleaseHead(file)?.manifest.version;
  } catch {
    return undefined;
  }
}

async function list({ api, terminal }: Cli): Promise<void> {
  const answer = await api.ask('GET', AGENT_RELEASES_PATH, releaseList);
  const rows = answer.releases.map(({ version, bytes, sha256, publishedAt }) => [
    ...[version, kilobytes(bytes), sha256, publishedAt],
  ]);
  terminal.result(answer, terminal.table(['VERSION', 'SIZE', 'SHA-256', 'PUBLISHED'], rows, 'No releases.'));
}

async function remove({ api, terminal }: Cli, version: string): Promise<void> {
  await api.ask('DELETE', `${AGENT_RELEASES_PATH}/${segment(version)}`, z.unknown());
  terminal.result({ version, removed: true }, [`${version} is removed.`]);
}

async function readInput(file: string): Promise<Buffer> {
  try {
    const { size } = await stat(file);
    if (size > MAX_RELEASE_BYTES) throw new Error(`${file} is too large`);
    return await readFile(file);
  } catch (error) {
    throw new GlasscastError('INVALID_CONFIG', { reason: errorText(error) });
  }
}

const hashOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const kilobytes = (bytes: number) => `${Math.ceil(bytes / 1000)} kB`;
