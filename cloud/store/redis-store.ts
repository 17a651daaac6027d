/**
 * The store in Redis, shared by the nodes of a cluster. Each call is one command or one script, so each is atomic by itself.
 * Records of a user's session are fenced: only the node that owns the session writes them. Holds secrets, as the file does:
 * whoever reads that Redis reads stream keys.
 *
 * Keys, below the prefix: `records:KIND` (key → JSON), `users:KIND` (key → user), `of:KIND:USER` (the keys of one user), and
 * the cluster's `owners` (user → node and token), which is read here and written by the cluster alone.
 */
import * as z from 'zod';
import { GlasscastError } from '../../shared/errors.ts';
import type { RedisLink, RedisScript } from '../cluster/redis-link.ts';
import { createRecordReader, type OnUnreadable } from './record-reader.ts';
import { recordKinds } from './records.ts';
import type { Collection, Store } from './store.ts';

/** Who may write what belongs to a user's session. */
export interface Fence {
  /** The proof that this node owns the user, as the owner's entry in Redis has it; undefined: it does not. */
  fenceOf(userId: string): string | undefined;
  /** Redis has refused the proof: true when it is good after all (Redis had lost it), and the write may be tried again. */
  confirm(userId: string): Promise<boolean>;
}

export interface RedisStoreOptions {
  link: RedisLink;
  /** Default `glasscast:`. */
  prefix?: string;
  /** Absent: nothing is fenced, for a tool beside the nodes. */
  fence?: Fence;
  onUnreadable?: OnUnreadable;
}

/** Records of one answer while all are read: neither Redis nor this process is to stand still over ten thousand. */
const CHUNK = 200;

/**
 * What all writes share. `who`: the record belongs to a user for whom no proof came along; `moved`: the proof is not good.
 * ARGV: key, prefix of the user's index, new user or '', 1 when fenced, body, `put`, `add` or `delete`; then user, proof, …
 */
const WRITE = `
local key, index, user, fenced, body, act = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local old = redis.call('HGET', KEYS[2], key) or ''
if fenced == '1' then
  local proof = {}
  for i = 7, #ARGV, 2 do proof[ARGV[i]] = ARGV[i + 1] end
  for _, whose in ipairs({old, user}) do
    if whose ~= '' then
      if not proof[whose] then return {'who', whose} end
      if redis.call('HGET', KEYS[3], whose) ~= proof[whose] then return {'moved', whose} end
    end
  end
end
local has = redis.call('HEXISTS', KEYS[1], key)
if act == 'add' and has == 1 then return {'kept'} end
if act == 'delete' then
  if has == 0 then return {'kept'} end
  redis.call('HDEL', KEYS[1], key)
else
  redis.call('HSET', KEYS[1], key, body)
end
if old ~= user then
  if old ~= '' then redis.call('SREM', index .. old, key) end
  if user == '' then redis.call('HDEL', KEYS[2], key)
  else
    redis.call('HSET', KEYS[2], key, user)
    redis.call('SADD', index .. user, key)
  end
end
return {'done'}`;

const OF = `
local keys = redis.call('SMEMBERS', KEYS[2])
local found = {}
for _, key in ipairs(keys) do
  local body = redis.call('HGET', KEYS[1], key)
  if body then found[#found + 1] = key; found[#found + 1] = body end
end
return found`;

const outcome = z.tuple([z.enum(['done', 'kept', 'who', 'moved']), z.string().optional()]);
const page = z.tuple([z.string(), z.array(z.string())]);
const pairs = z.array(z.string());

type Act = 'put' | 'add' | 'delete';

/** Errors of its calls: STORE_UNAVAILABLE, SESSION_MOVED; INVALID_CONFIG from a read of a vital record that is unreadable. */
export function createRedisStore(options: RedisStoreOptions): Store {
  const scripts = { write: options.link.script('glasscastWrite', WRITE), of: options.link.script('glasscastOf', OF) };
  const kinds = Object.entries(recordKinds).map(([kind, about]) => [
    kind,
    // Each kind's own type comes back with the name that it is found under.
    createCollection(kind, about as unknown as KindOf<object>, { ...options, scripts }),
  ]);
  return { ...(Object.fromEntries(kinds) as Omit<Store, 'close'>), async close() {} };
}

interface KindOf<T> {
  schema: z.ZodType<T>;
  keyOf: (record: T) => string;
  isVital: boolean;
  isFenced: boolean;
}

function createCollection<T extends object>(
  kind: string,
  { schema, keyOf, isVital, isFenced }: KindOf<T>,
  options: RedisStoreOptions & { scripts: { write: RedisScript; of: RedisScript } },
): Collection<T> {
  const { link, prefix = 'glasscast:', scripts, onUnreadable } = options;
  const fence = isFenced ? options.fence : undefined;
  const records = `${prefix}records:${kind}`;
  const index = `${prefix}of:${kind}:`;
  const writeKeys = [records, `${prefix}users:${kind}`, `${prefix}owners`];
  const read = createRecordReader(kind, { schema, isVital, place: 'Redis', onUnreadable });
  const readAll = (found: ReadonlyMap<string, string>) =>
    [...found].sort(([a], [b]) => (a < b ? -1 : 1)).flatMap(([key, body]) => read(key, body));

  /** True when something has changed. */
  async function write(act: Act, key: string, record?: T): Promise<boolean> {
    const user = record ? userOf(record) : '';
    const users = new Set(user && fence ? [user] : []);
    let wasConfirmed = false;
    for (;;) {
      const proofs = [...users].flatMap((whose) => [whose, proofOf(whose)]);
      const body = record ? JSON.stringify(record) : '';
      const args = [key, index, user, fence ? 1 : 0, body, act, ...proofs];
      const [word, whose = ''] = outcome.parse(await scripts.write(writeKeys, args));
      if (word === 'done' || word === 'kept') return word === 'done';
      // Only now is it known whose the record was until today.
      if (word === 'who' && users.size < 3) users.add(whose);
      else if (wasConfirmed || !(await fence?.confirm(whose))) throw new GlasscastError('SESSION_MOVED');
      else wasConfirmed = true;
    }
  }
  function proofOf(userId: string): string {
    const proof = fence?.fenceOf(userId);
    if (proof === undefined) throw new GlasscastError('SESSION_MOVED');
    return proof;
  }

  return {
    async all() {
      const found = new Map<string, string>();
      let cursor = '0';
      do {
        const [next, answer] = page.parse(await link.command('HSCAN', records, cursor, 'COUNT', CHUNK));
        addPairs(found, answer);
        cursor = next;
      } while (cursor !== '0');
      return readAll(found);
    },
    async of(userId) {
      const found = new Map<string, string>();
      addPairs(found, pairs.parse(await scripts.of([records, index + userId], [])));
      return readAll(found);
    },
    async get(key) {
      const body = await link.command('HGET', records, key);
      return typeof body === 'string' ? read(key, body)[0] : undefined;
    },
    async put(record) {
      await write('put', keyOf(record), record);
    },
    add: (record) => write('add', keyOf(record), record),
    delete: (key) => write('delete', key),
  };
}

function addPairs(found: Map<string, string>, flat: readonly string[]): void {
  for (let at = 0; at + 1 < flat.length; at += 2) found.set(flat[at] ?? '', flat[at + 1] ?? '');
}

/** Empty: it names none. */
function userOf(record: object): string {
  return 'userId' in record && typeof record.userId === 'string' ? record.userId : '';
}
