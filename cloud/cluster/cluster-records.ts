/**
 * What a cluster keeps in Redis besides the store: leases of nodes, the leader, and who owns which user. Every change is one
 * script, so that of two nodes that want the same thing one gets it. Decides nothing that needs more than one look.
 *
 * Keys, below the prefix: `nodes` (node → `until address`), `leader` (`until node`), `owners` (user → `node token`, or
 * `-since token` of a user that was set free), `token` (the newest token), `epoch` (a new one when Redis has lost something).
 * Times are Redis's own, in ms since 1970.
 */
import * as z from 'zod';
import type { NodeAddress } from './mesh.ts';
import type { RedisLink } from './redis-link.ts';

export interface Renewal {
  node: NodeAddress;
  leaseMs: number;
  /** The newest token that this node has seen: a Redis with an older one has lost something. */
  seenToken: number;
  /** To be taken when a new one is needed. */
  newEpoch: string;
  /** False: it does not become the leader, and is it no more. */
  mayLead: boolean;
}

export interface Renewed {
  nowMs: number;
  epoch: string;
  token: number;
  leaderId: string | undefined;
  /** Whose lease holds, this one among them. */
  nodes: NodeAddress[];
}

export interface Claim {
  userId: string;
  nodeId: string;
  seenToken: number;
  /**
   * `look` takes nothing; `free` takes whom nobody has, or this node itself by its entry; `force` also from this `entry`;
   * `exact` from this `entry` and nothing else.
   */
  act: 'look' | 'free' | 'force' | 'exact';
  entry?: string | undefined;
}

/** `proof` is the entry that Redis has from now on. */
export type Claimed =
  | { got: 'claimed'; proof: string; token: number }
  | { got: 'nobody' }
  | { got: 'other'; nodeId: string; entry: string; isLeased: boolean };

export interface Release {
  userId: string;
  proof: string;
  /** There is a session that somebody has to take up; false: nothing is left of it. */
  isFree: boolean;
}

export interface Audit {
  nodeId: string;
  /** As this node knows it. */
  epoch: string;
  seenToken: number;
  owned: readonly { userId: string; proof: string }[];
}

/** Errors of each: STORE_UNAVAILABLE. */
export interface ClusterRecords {
  renew(renewal: Renewal): Promise<Renewed>;
  /** Its lease and its leadership end now. */
  leave(nodeId: string): Promise<void>;
  claim(claim: Claim): Promise<Claimed>;
  /** Only where the entry is still this proof. */
  release(releases: readonly Release[]): Promise<void>;
  /** Writes again what Redis has lost. Answers the users that were taken away. */
  audit(audit: Audit): Promise<string[]>;
  /** Some of the owners; begins and ends with cursor `0`, and may tell one twice. */
  scan(cursor: string): Promise<{ cursor: string; owners: { userId: string; entry: string }[] }>;
  /** Called each time that Redis is back. */
  onBack(take: () => void): () => void;
}

const NOW = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)`;

const RENEW = `${NOW}
local me, address, lease, seen, mayLead = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[6] == '1'
local untilMs = string.format('%.0f', now + lease)
local token = tonumber(redis.call('GET', KEYS[2]) or '0')
local epoch = redis.call('GET', KEYS[3])
if not epoch or token < seen then
  epoch = ARGV[5]
  redis.call('SET', KEYS[3], epoch)
  if token < seen then token = seen; redis.call('SET', KEYS[2], ARGV[4]) end
end
redis.call('HSET', KEYS[1], me, untilMs .. ' ' .. address)
local answer = {string.format('%.0f', now), epoch, string.format('%.0f', token), ''}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local ends, where = string.match(all[i + 1], '^(%d+) (.*)$')
  if not ends or tonumber(ends) < now then redis.call('HDEL', KEYS[1], all[i])
  else answer[#answer + 1] = all[i]; answer[#answer + 1] = where end
end
local ends, leader = string.match(redis.call('GET', KEYS[4]) or '', '^(%d+) (.*)$')
if leader and tonumber(ends) < now then leader = nil end
if mayLead and (not leader or leader == me) then
  leader = me
  redis.call('SET', KEYS[4], untilMs .. ' ' .. me)
elseif leader == me then
  leader = nil
  redis.call('DEL', KEYS[4])
end
answer[4] = leader or ''
return answer`;

const LEAVE = `
redis.call('HDEL', KEYS[1], ARGV[1])
local leader = string.match(redis.call('GET', KEYS[2]) or '', '^%d+ (.*)$')
if leader == ARGV[1] then redis.call('DEL', KEYS[2]) end`;

const CLAIM = `${NOW}
local user, me, seen, act, wanted = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local entry = redis.call('HGET', KEYS[1], user)
local node = entry and string.match(entry, '^(%S+) ')
local nobody = not node or string.sub(node, 1, 1) == '-'
local may = entry == wanted and (act == 'exact' or act == 'force')
if act == 'free' or act == 'force' then may = may or nobody or node == me end
if may then
  local token = redis.call('INCR', KEYS[3])
  if token <= seen then
    token = seen + 1
    redis.call('SET', KEYS[3], string.format('%.0f', token))
  end
  redis.call('HSET', KEYS[1], user, me .. ' ' .. string.format('%.0f', token))
  return {'claimed', string.format('%.0f', token)}
end
if nobody then return {'nobody'} end
local ends = string.match(redis.call('HGET', KEYS[2], node) or '', '^(%d+) ')
return {'other', node, entry, (ends and tonumber(ends) >= now) and '1' or '0'}`;

const RELEASE = `${NOW}
for i = 1, #ARGV, 3 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    if ARGV[i + 2] == '1' then
      local token = string.match(ARGV[i + 1], ' (%d+)$')
      redis.call('HSET', KEYS[1], ARGV[i], '-' .. string.format('%.0f', now) .. ' ' .. token)
    else
      redis.call('HDEL', KEYS[1], ARGV[i])
    end
  end
end`;

/** A missing entry was lost by Redis when its epoch or its tokens say so; else somebody took the user and let it go. */
const AUDIT = `
local me, seen = ARGV[1], tonumber(ARGV[3])
local newest = tonumber(redis.call('GET', KEYS[2]) or '0')
local hasLost = redis.call('GET', KEYS[3]) ~= ARGV[2] or newest < seen
local taken = {}
for i = 4, #ARGV, 2 do
  local user, proof = ARGV[i], ARGV[i + 1]
  local entry = redis.call('HGET', KEYS[1], user)
  if entry ~= proof then
    local node, token = string.match(entry or '', '^(%S+) (%d+)$')
    local mine = tonumber(string.match(proof, ' (%d+)$'))
    if (node and (node == me or tonumber(token) < mine)) or (not node and hasLost) then
      redis.call('HSET', KEYS[1], user, proof)
      if mine > newest then
        newest = mine
        redis.call('SET', KEYS[2], string.format('%.0f', mine))
      end
    else
      taken[#taken + 1] = user
    end
  end
end
return taken`;

const texts = z.array(z.string());
const renewal = z.tuple([z.string(), z.string(), z.string(), z.string()]).rest(z.string());
const claimed = z.union([
  z.tuple([z.literal('claimed'), z.string()]),
  z.tuple([z.literal('nobody')]),
  z.tuple([z.literal('other'), z.string(), z.string(), z.string()]),
]);
const page = z.tuple([z.string(), texts]);

const SCAN_COUNT = 500;

export function createClusterRecords({
  link,
  prefix = 'glasscast:',
}: {
  link: RedisLink;
  /** Default `glasscast:`. */
  prefix?: string;
}): ClusterRecords {
  const [nodes, leader, owners, token, epoch] = ['nodes', 'leader', 'owners', 'token', 'epoch'].map(
    (name) => prefix + name,
  ) as [string, string, string, string, string];
  const scripts = {
    renew: link.script('glasscastRenew', RENEW),
    leave: link.script('glasscastLeave', LEAVE),
    claim: link.script('glasscastClaim', CLAIM),
    release: link.script('glasscastRelease', RELEASE),
    audit: link.script('glasscastAudit', AUDIT),
  };
  return {
    async renew({ node, leaseMs, seenToken, newEpoch, mayLead }) {
      const args = [node.nodeId, node.address, leaseMs, seenToken, newEpoch, mayLead ? 1 : 0];
      const answer = renewal.parse(await scripts.renew([nodes, token, epoch, leader], args));
      const [nowMs, newestEpoch, newest, leaderId, ...flat] = answer;
      const living = inPairs(flat).map(([nodeId, address]) => ({ nodeId, address }));
      return {
        ...{ nowMs: Number(nowMs), epoch: newestEpoch, token: Number(newest), nodes: living },
        leaderId: leaderId || undefined,
      };
    },
    async leave(nodeId) {
      await scripts.leave([nodes, leader], [nodeId]);
    },
    async claim({ userId, nodeId, seenToken, act, entry = '' }) {
      const args = [userId, nodeId, seenToken, act, entry];
      const answer = claimed.parse(await scripts.claim([owners, nodes, token], args));
      if (answer[0] === 'claimed') {
        return { got: 'claimed', proof: `${nodeId} ${answer[1]}`, token: Number(answer[1]) };
      }
      if (answer[0] === 'nobody') return { got: 'nobody' };
      return { got: 'other', nodeId: answer[1], entry: answer[2], isLeased: answer[3] === '1' };
    },
    async release(releases) {
      const args = releases.flatMap(({ userId, proof, isFree }) => [userId, proof, isFree ? 1 : 0]);
      await scripts.release([owners], args);
    },
    async audit({ nodeId, epoch: known, seenToken, owned }) {
      const args = [nodeId, known, seenToken, ...owned.flatMap(({ userId, proof }) => [userId, proof])];
      return texts.parse(await scripts.audit([owners, token, epoch], args));
    },
    async scan(cursor) {
      const [next, flat] = page.parse(await link.command('HSCAN', owners, cursor, 'COUNT', SCAN_COUNT));
      return { cursor: next, owners: inPairs(flat).map(([userId, entry]) => ({ userId, entry })) };
    },
    onBack: (take) => link.onUp(take),
  };
}

function inPairs(flat: readonly string[]): [string, string][] {
  return Array.from({ length: flat.length / 2 }, (_, at) => [flat[2 * at] ?? '', flat[2 * at + 1] ?? '']);
}
