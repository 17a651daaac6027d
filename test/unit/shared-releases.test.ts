import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createSharedReleases } from '../../cloud/cluster/shared-releases.ts';
import { createSqliteStore } from '../../cloud/store/sqlite-store.ts';
import { createReleaseFolder } from '../../cloud/updates/release-folder.ts';
import { silentLog } from '../../shared/log.ts';
import { sealRelease } from '../../shared/release.ts';
import { createFakeMeshes } from '../support/mesh-fakes.ts';

const { privateKey, publicKey } = generateKeyPairSync('ed25519');
const sealed = (version: string, key = privateKey) =>
  sealRelease({ version, minNode: 20, code: Buffer.from(`console.log('${version}');`), privateKey: key });

let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'glasscast-releases-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function world() {
  const store = createSqliteStore({ file: ':memory:' });
  const [a, b] = createFakeMeshes('a', 'b').map((mesh) => {
    const folder = createReleaseFolder({ folder: join(root, mesh.nodeId), trustedKeys: [publicKey] });
    return { mesh, folder, releases: createSharedReleases({ mesh, folder, store, log: silentLog() }) };
  });
  if (!a || !b) throw new Error('two nodes are wanted');
  return { a, b };
}
type Node = ReturnType<typeof world>['a'];
const publish = ({ releases }: Node, version: string) => releases.accept(version, Readable.from([sealed(version)]));
const versions = async ({ folder }: Node) => (await folder.list()).map(({ version }) => version);

it('are on every node a moment later, to the byte, and gone from all when one is removed', async () => {
  const { a, b } = world();
  await publish(a, '1.4.0');
  // Glasses ask here first.
  const release = await b.releases.get('1.4.0');
  expect(Buffer.concat(await (await b.releases.read(release)).toArray())).toEqual(sealed('1.4.0'));
  await expect.poll(() => versions(b)).toEqual(['1.4.0']);
  await b.releases.remove('1.4.0');
  await expect.poll(() => versions(a)).toEqual([]);
  await expect(a.releases.get('1.4.0')).rejects.toMatchObject({ code: 'RELEASE_NOT_FOUND' });
});

it('reach a node that was away, and what was removed meanwhile does not come back by it', async () => {
  const { a, b } = world();
  await publish(a, '1.4.0');
  await expect.poll(() => versions(b)).toEqual(['1.4.0']);
  b.mesh.cut();
  await a.releases.remove('1.4.0');
  await publish(a, '1.5.0');
  expect(await versions(b)).toEqual(['1.4.0']);
  b.mesh.mend();
  await expect.poll(() => versions(b)).toEqual(['1.5.0']);
  await expect.poll(() => versions(a)).toEqual(['1.5.0']);
  // Published once more it is there again.
  await publish(b, '1.4.0');
  await expect.poll(() => versions(a)).toEqual(['1.5.0', '1.4.0']);
});

it('of another node are checked as those of an operator', async () => {
  const { a, b } = world();
  const stranger = generateKeyPairSync('ed25519').privateKey;
  const careless = createReleaseFolder({ folder: join(root, 'a') });
  await careless.accept('1.4.0', Readable.from([sealed('1.4.0', stranger)]));
  expect(await versions(a)).toEqual(['1.4.0']);
  await expect(b.releases.get('1.4.0')).rejects.toMatchObject({ code: 'RELEASE_NOT_FOUND' });
  expect(await versions(b)).toEqual([]);
});
