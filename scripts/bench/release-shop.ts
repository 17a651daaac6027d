/** Releases of the agent for benchmarks and tests: bundled once, each version and each broken one from that, signed by a key of ours. */
import { generateKeyPairSync } from 'node:crypto';
import { sealRelease } from '../../shared/release.ts';
import { bundleForDevice } from '../package/agent-bundle.ts';

export interface ReleaseShop {
  publicKeyPem: string;
  /** The real agent, as that version. */
  agentCode(version: string): Buffer;
  launcherCode(version: string): Buffer;
  /** @param code default: the real agent */
  seal(version: string, code?: Uint8Array, options?: { minNode?: number; isForeign?: boolean }): Buffer;
}

/** Stands in the bundle for the version, and nowhere else in it. */
const ANY_VERSION = '987.654.321';

export async function openReleaseShop(): Promise<ReleaseShop> {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const foreign = generateKeyPairSync('ed25519').privateKey;
  const agent = await bundleForDevice({ version: ANY_VERSION });
  const launcher = await bundleForDevice({ version: ANY_VERSION, entry: 'device/updates/launcher.ts' });
  const as = (code: Uint8Array, version: string) =>
    Buffer.from(Buffer.from(code).toString('utf8').replaceAll(ANY_VERSION, version));
  return {
    publicKeyPem: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    agentCode: (version) => as(agent, version),
    launcherCode: (version) => as(launcher, version),
    seal: (version, code = as(agent, version), { minNode = 20, isForeign = false } = {}) =>
      sealRelease({ version, minNode, code, privateKey: isForeign ? foreign : privateKey }),
  };
}
