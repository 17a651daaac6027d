/**
 * How glasses come by another version of the agent: what they tell of theirs, what the relay orders, and where the release
 * is fetched, with the core token: `GET /api/agent-releases/VERSION`, by ranges. Normative text: PROTOCOL.md.
 */
import * as z from 'zod';
import { releaseVersion } from '../release.ts';

export const AGENT_RELEASES_PATH = '/api/agent-releases';

const reason = z.string().max(500).optional();

/** How the last update ended. */
export const updateOutcome = z.object({
  version: z.string().max(40),
  outcome: z.enum([
    /** It runs, and has proven itself. */
    'installed',
    /** It was started and did not prove itself: the version of before runs again. */
    'rolled_back',
    /** Power or process ended while it was proving itself: the version of before runs again. */
    'interrupted',
    /** It was never started: not to be had, not trusted, not fit for this device. */
    'refused',
  ]),
  reason,
});
export type UpdateOutcome = z.output<typeof updateOutcome>;

/** Of `glasses_connection_state`: the agent there, as each hello tells it. */
export const agentFacts = z.object({
  version: z.string().max(40),
  /** As Node calls it: arm64, arm, x64. */
  architecture: z.string().max(20),
  /** Orders to update or to roll back are understood, and can be carried out where the agent is installed. */
  canUpdate: z.boolean(),
  /** This version has not proven itself yet. It says hello again when it has; if it does not, the version of before does. */
  onTrial: z.boolean().optional(),
  lastUpdate: updateOutcome.optional(),
});
export type AgentFacts = z.output<typeof agentFacts>;

/** relay → glasses: run this version. Again for the same one changes nothing. */
export const agentUpdate = z.object({ type: z.literal('agent_update'), version: releaseVersion });

/** relay → glasses: go back to the version of before, or to the one that was flashed. */
export const agentRollback = z.object({ type: z.literal('agent_rollback') });

/** glasses → relay: how far an update is. Its end is told by the next hello, except for `refused`. */
export const agentUpdateStatus = z.object({
  type: z.literal('agent_update_status'),
  version: z.string().max(40),
  state: z.enum([
    'downloading',
    /** A stream runs: loading and switching go on when it has ended. */
    'waiting',
    /** The agent ends now and comes back as the other version. */
    'switching',
    'refused',
  ]),
  /** Of the download, per cent. */
  percent: z.number().min(0).max(100).optional(),
  reason,
});
export type AgentUpdateStatus = z.output<typeof agentUpdateStatus>;
