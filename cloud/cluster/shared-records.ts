/**
 * What every node keeps in memory of the store, so that it needs no store to let somebody in: the catalogue of apps and the
 * tokens that were revoked. Tells other nodes of a change here, and reads anew what may have been missed.
 */
import * as z from 'zod';
import type { Clock, Timer } from '../../shared/clock.ts';
import { errorText } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { CoreTokens } from '../access/core-tokens.ts';
import type { AppCatalog } from '../apps/app-catalog.ts';
import type { Mesh } from './cluster.ts';

export interface SharedRecords {
  /** Written here: the other nodes read it anew. */
  catalogChanged(): void;
  tokenRevoked(tokenId: string): void;
  /** A word of another node may have been missed, e.g. while the store was away. */
  refresh(): void;
  close(): void;
}

export interface SharedRecordsOptions {
  mesh: Pick<Mesh, 'answer' | 'broadcast' | 'onFound'>;
  catalog: Pick<AppCatalog, 'refresh'>;
  tokens: Pick<CoreTokens, 'learnRevoked' | 'refresh'>;
  clock: Clock;
  log: Log;
}

const CATALOG = 'catalogue-changed';
const TOKEN = 'token-revoked';
/** While the store does not answer. */
const AGAIN_MS = 2_000;

const revoked = z.object({ tokenId: z.string().max(200) });

export function createSharedRecords({ mesh, catalog, tokens, clock, log }: SharedRecordsOptions): SharedRecords {
  const reads = { catalogue: createRead(() => catalog.refresh()), tokens: createRead(() => tokens.refresh()) };
  let isClosed = false;

  /** One at a time; what is asked for meanwhile is read once more after it. */
  function createRead(read: () => Promise<void>) {
    let isRunning = false;
    let isWanted = false;
    let again: Timer | undefined;
    async function run(): Promise<void> {
      if (isRunning || isClosed) return;
      isRunning = true;
      again?.cancel();
      try {
        while (isWanted && !isClosed) {
          isWanted = false;
          await read();
        }
      } catch (error) {
        log.warn({ reason: errorText(error) }, 'shared-records-not-read');
        isWanted = true;
        if (!isClosed) again = clock.after('shared-records', AGAIN_MS, () => void run());
      } finally {
        isRunning = false;
      }
    }
    return {
      want() {
        isWanted = true;
        void run();
      },
      close: () => again?.cancel(),
    };
  }
  function refresh(): void {
    reads.catalogue.want();
    reads.tokens.want();
  }
  mesh.answer(CATALOG, () => reads.catalogue.want());
  mesh.answer(TOKEN, (body) => {
    const said = revoked.safeParse(body);
    if (said.success) tokens.learnRevoked(said.data.tokenId);
  });
  const unlisten = mesh.onFound(refresh);

  return {
    catalogChanged: () => mesh.broadcast(CATALOG, {}),
    tokenRevoked: (tokenId) => mesh.broadcast(TOKEN, { tokenId }),
    refresh,
    close() {
      isClosed = true;
      unlisten();
      for (const read of Object.values(reads)) read.close();
    },
  };
}
