/**
 * What is to be on a board: package, settings, keys and whose it is, as the files that apply.sh takes, and the fingerprint by
 * which the same order is known again. Owns their form; the code that lets the board in is the only secret among them.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { agentSettings } from '../../device/config.ts';
import { errorText, GlasscastError } from '../../shared/errors.ts';
import { releaseKeyOf } from '../../shared/release.ts';
import type { Secret } from '../../shared/secrets.ts';
import type { BoardArchitecture, BoardFile } from './board.ts';
import { contentHash } from './content-hash.ts';

export interface PackageFile {
  path: string;
  bytes: number;
  sha256: string;
  /** By its name; undefined: the name does not tell. */
  version: string | undefined;
  architecture: BoardArchitecture | undefined;
}

/** @throws GlasscastError INVALID_CONFIG: it cannot be read */
export async function packageFileOf(path: string): Promise<PackageFile> {
  try {
    const { size } = await stat(path);
    const [, version, architecture] = /glasscast-agent_([^_/]+)_(amd64|arm64|armhf)\.deb$/.exec(path) ?? [];
    const facts = { version, architecture: architecture as BoardArchitecture | undefined };
    return { path, bytes: size, sha256: await contentHash({ path }), ...facts };
  } catch (error) {
    throw new GlasscastError('INVALID_CONFIG', { reason: `--package: ${errorText(error)}` });
  }
}

export interface SettingsWish {
  /** ws(s)://host:port/glasses-ws, as the board reaches it. */
  relayUrl: string;
  source: string;
  microphone?: string | undefined;
  /** `key=value`, the key as the agent's flag or its camelCase. */
  set?: readonly string[];
}

/**
 * The text of /etc/default/glasscast-agent, as systemd reads it.
 * @throws GlasscastError INVALID_CONFIG: a setting that the agent does not know or does not take; a secret
 */
export function settingsText({ relayUrl, source, microphone, set = [] }: SettingsWish): string {
  const environment: Record<string, string> = {};
  const put = (key: string, value: string) => {
    const dashed = key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`).replace(/^--/, '');
    const setting = agentSettings.list().find(({ environmentName }) => environmentName === nameOf(dashed));
    if (!setting) throw wrong(`the agent has no setting ${key}`);
    if (setting.isSecret) throw wrong(`${key} is a secret; flashing gives the board a code of its own`);
    if (/\p{Cc}/u.test(value)) throw wrong(`${key} holds a control character`);
    environment[setting.environmentName] = value;
  };
  put('relayUrl', relayUrl);
  put('source', source);
  if (microphone !== undefined) put('microphone', microphone);
  for (const each of set) {
    const [, key, value] = /^([A-Za-z][A-Za-z0-9-]*)=(.*)$/s.exec(each) ?? [];
    if (key === undefined || value === undefined) throw wrong('--set: expected key=value');
    put(key, value);
  }
  agentSettings.read([], environment);
  const lines = Object.entries(environment).map(([name, value]) => `${name}="${value.replace(/["\\$`]/g, '\\$&')}"`);
  return ['# Written by glasscast flash; flashing writes it anew.', ...lines.sort(), ''].join('\n');
}

const nameOf = (dashed: string) => `GLASSCAST_AGENT_${dashed.replaceAll('-', '_').toUpperCase()}`;
const wrong = (reason: string) => new GlasscastError('INVALID_CONFIG', { reason });

/** Name and text of each. @throws GlasscastError INVALID_CONFIG: no public key, or not to be read */
export function readReleaseKeys(paths: readonly string[]): ReadonlyMap<string, string> {
  return new Map(
    paths.map((path) => {
      let pem: string;
      try {
        pem = readFileSync(path, 'utf8');
      } catch (error) {
        throw wrong(`--release-key: ${errorText(error)}`);
      }
      releaseKeyOf(pem);
      // By content: two keys may have the same file name.
      return [`release-${sha256Of(pem).slice(0, 16)}.pem`, pem];
    }),
  );
}

export interface FlashOrder {
  package: PackageFile;
  settings: string;
  releaseKeys: ReadonlyMap<string, string>;
  /** Whose glasses these are; undefined: only the code knows. */
  user: string | undefined;
}

/** The same order, the same text; neither code nor run is in it. */
export function fingerprintOf({ package: { sha256 }, settings, releaseKeys, user }: FlashOrder): string {
  return sha256Of(JSON.stringify([sha256, settings, [...releaseKeys].sort(), user ?? '']));
}

export interface RunOptions {
  runId: string;
  /** Stands in no other file. */
  code: Secret | undefined;
  deadlineSeconds: number;
  /** `none`: install and start, and prove nothing. */
  gate: 'agent' | 'none';
  /** `false`: doctor's capture checks do not count. */
  capture?: boolean;
}

/** Everything apply.sh needs, in the order to be put: the manifest last, then all is there. */
export function filesOf(order: FlashOrder, { runId, code, deadlineSeconds, gate, capture }: RunOptions): BoardFile[] {
  const options = [
    `id=${runId}`,
    `gate=${gate}`,
    `deadline=${deadlineSeconds}`,
    ...(capture === false ? ['capture=no'] : []),
  ];
  const { path, bytes, sha256 } = order.package;
  const files: BoardFile[] = [
    { name: 'new/package.deb', content: { path }, bytes, sha256 },
    textFile('new/settings', order.settings),
    ...(code === undefined ? [] : [textFile('new/enrolment-code', `${code.reveal()}\n`)]),
    ...[...order.releaseKeys].map(([name, pem]) => textFile(`new/release-keys/${name}`, pem)),
    textFile('new/fingerprint', `${fingerprintOf(order)}\n`),
    ...(order.user === undefined ? [] : [textFile('new/user', `${order.user}\n`)]),
    textFile('new/options', `${options.join('\n')}\n`),
  ];
  const manifest = files.map((file) => `${file.sha256}  ${file.name.slice('new/'.length)}\n`).join('');
  return [applyScript(), ...files, textFile('new/manifest', manifest)];
}

/** What runs on the board; beside new/, since it outlives it. */
export function applyScript(): BoardFile {
  return textFile('apply.sh', readFileSync(new URL('apply.sh', import.meta.url), 'utf8'));
}

function textFile(name: string, text: string): BoardFile {
  const content = Buffer.from(text);
  return { name, content, bytes: content.byteLength, sha256: sha256Of(content) };
}

const sha256Of = (content: string | Uint8Array) => createHash('sha256').update(content).digest('hex');
