/**
 * What an app keeps for one of its users: the SDK's `session.simpleStorage`. Texts by key, within MentraOS' bounds; each
 * app sees only its own, and only of users for whom it runs or has run.
 */
import { GlasscastError } from '../../shared/errors.ts';
import { appStorageKey } from '../store/records.ts';
import type { Store } from '../store/store.ts';

export interface StorageOwner {
  packageName: string;
  userId: string;
}

/** Each call's errors: SESSION_NOT_FOUND when the app never ran for the user. */
export interface AppStorage {
  read(owner: StorageOwner): Promise<Record<string, string>>;
  /** Adds and replaces, all or nothing. Errors: APP_STORAGE_FULL. */
  write(owner: StorageOwner, entries: Readonly<Record<string, string>>): Promise<void>;
  /** Fine when it is not there. */
  remove(owner: StorageOwner, key: string): Promise<void>;
  clear(owner: StorageOwner): Promise<void>;
}

const MAX_BYTES = 1024 * 1024;
/** As the SDK counts them. */
const MAX_VALUE_CHARS = 100_000;

type Data = Record<string, string>;

export interface AppStorageOptions {
  store: Pick<Store, 'appStorage'>;
  apps: { session(userId: string, packageName: string): unknown };
}

export function createAppStorage({ store, apps }: AppStorageOptions): AppStorage {
  /** The change under way of each owner: the next one waits, so that none is lost. */
  const changing = new Map<string, Promise<unknown>>();

  /** The record, begun while the app runs, lets the SDK write after the app's end: it does so as it leaves. */
  async function dataOf({ packageName, userId }: StorageOwner): Promise<Data> {
    const record = await store.appStorage.get(appStorageKey(packageName, userId));
    if (record) return record.data;
    if (!apps.session(userId, packageName)) throw new GlasscastError('SESSION_NOT_FOUND');
    await store.appStorage.put({ packageName, userId, data: {} });
    return {};
  }

  async function change(owner: StorageOwner, next: (data: Data) => Data): Promise<void> {
    const key = appStorageKey(owner.packageName, owner.userId);
    const mine = (changing.get(key) ?? Promise.resolve())
      .catch(() => {})
      .then(async () => {
        const data = next(await dataOf(owner));
        if (Buffer.byteLength(JSON.stringify(data)) > MAX_BYTES) throw new GlasscastError('APP_STORAGE_FULL');
        await store.appStorage.put({ packageName: owner.packageName, userId: owner.userId, data });
      });
    changing.set(key, mine);
    try {
      await mine;
    } finally {
      if (changing.get(key) === mine) changing.delete(key);
    }
  }

  return {
    read: dataOf,
    async write(owner, entries) {
      if (Object.values(entries).some(({ length }) => length > MAX_VALUE_CHARS)) {
        throw new GlasscastError('APP_STORAGE_FULL');
      }
      await change(owner, (data) => ({ ...data, ...entries }));
    },
    remove: (owner, key) =>
      change(owner, (data) => Object.fromEntries(Object.entries(data).filter(([k]) => k !== key))),
    clear: (owner) => change(owner, () => ({})),
  };
}
