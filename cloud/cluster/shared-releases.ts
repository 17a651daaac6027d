/**
 * Releases on every node: each keeps the files in its own folder, and fetches over the mesh what another one has and it
 * lacks. What was removed is remembered in the store, so that a node that was away does not bring it back.
 */
import { Readable } from 'node:stream';
import * as z from 'zod';
import { errorText, isGlasscastError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { Store } from '../store/store.ts';
import type { KeptRelease, ReleaseFolder } from '../updates/release-folder.ts';
import type { Mesh } from './cluster.ts';

export interface SharedReleases extends ReleaseFolder {
  close(): void;
}

export interface SharedReleasesOptions {
  mesh: Mesh;
  /** This node's own. Checks what comes from another node as what comes from an operator. */
  folder: ReleaseFolder;
  store: Pick<Store, 'values'>;
  log: Log;
}

const CHANGED = 'releases-changed';
const LIST = 'release-list';
const PART = 'release-part';
const PART_BYTES = 512 * 1024;
const TIMEOUT_MS = 10_000;

const kept = z.object({ version: z.string().max(40), bytes: z.number(), sha256: z.string().max(64) });
const wantedPart = z.object({ version: z.string().max(40), start: z.number().int().min(0) });
const part = z.object({ base64: z.string() });
type Known = z.output<typeof kept>;

export function createSharedReleases({ mesh, folder, store, log }: SharedReleasesOptions): SharedReleases {
  let working: Promise<void> = Promise.resolve();
  let isClosed = false;
  const removedName = (version: string) => `removed-release-${version}`;

  mesh.answer(LIST, async () => folder.list());
  mesh.answer(PART, async (body) => {
    const { version, start } = wantedPart.parse(body);
    const release = await folder.get(version);
    const end = Math.min(start + PART_BYTES, release.bytes) - 1;
    const bytes = end < start ? [] : await (await folder.read(release, { start, end })).toArray();
    return { base64: Buffer.concat(bytes).toString('base64') };
  });
  mesh.answer(CHANGED, (_, from) => void follow(from));
  const unlisten = mesh.onFound((nodeId) => void follow(nodeId));

  async function* partsOf(nodeId: string, { version, bytes }: Known): AsyncGenerator<Uint8Array> {
    for (let start = 0; start < bytes; ) {
      const answer = part.parse(await mesh.call(nodeId, PART, { version, start }, { timeoutMs: TIMEOUT_MS }));
      const piece = Buffer.from(answer.base64, 'base64');
      if (piece.length === 0) return;
      start += piece.length;
      yield piece;
    }
  }
  /** What was removed here or elsewhere is not fetched, and goes where it still is. */
  async function takeOver(nodeId: string): Promise<void> {
    const answer = await mesh.call(nodeId, LIST, {}, { timeoutMs: TIMEOUT_MS });
    const theirs = z.array(kept).max(1_000).parse(answer);
    const own = new Map((await folder.list()).map((release) => [release.version, release]));
    const removed = new Map((await store.values.all()).map(({ name, value }) => [name, value]));
    const isRemoved = ({ version, sha256 }: Known) => removed.get(removedName(version)) === sha256;
    for (const release of own.values()) if (isRemoved(release)) await folder.remove(release.version);
    for (const release of theirs.filter((one) => !own.has(one.version) && !isRemoved(one))) {
      if (isClosed) return;
      const { version, bytes } = release;
      await folder.accept(version, Readable.from(partsOf(nodeId, release)), bytes);
      log.info({ version, peerId: nodeId }, 'release-fetched');
    }
  }
  function follow(nodeId: string): Promise<void> {
    working = working
      .then(() => (isClosed ? undefined : takeOver(nodeId)))
      .catch((error: unknown) => log.warn({ peerId: nodeId, reason: errorText(error) }, 'releases-not-fetched'));
    return working;
  }
  /** Glasses may ask here a moment before it is here. */
  async function get(version: string): Promise<KeptRelease> {
    try {
      return await folder.get(version);
    } catch (error) {
      if (!isGlasscastError(error) || error.code !== 'RELEASE_NOT_FOUND' || mesh.others().length === 0) throw error;
    }
    for (const nodeId of mesh.others()) await follow(nodeId);
    return folder.get(version);
  }

  return {
    get,
    list: () => folder.list(),
    read: (release, range) => folder.read(release, range),
    async accept(version, body, announcedBytes) {
      const elsewhere = (await get(version).catch(() => undefined))?.sha256;
      // Before it is here, or another node's word would have it removed again.
      await store.values.delete(removedName(version));
      const accepted = await folder.accept(version, body, announcedBytes);
      if (accepted.release.sha256 !== elsewhere) mesh.broadcast(CHANGED, {});
      return accepted;
    },
    async remove(version) {
      const release = await get(version);
      await store.values.put({ name: removedName(version), value: release.sha256 });
      await folder.remove(version);
      mesh.broadcast(CHANGED, {});
    },
    close() {
      isClosed = true;
      unlisten();
    },
  };
}
