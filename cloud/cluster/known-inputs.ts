/**
 * What each node of a cluster has at the provider, by its memory: asked before a live input counts as nobody's. So a Redis
 * that has lost the last second, or all, costs no stream its live input.
 */
import * as z from 'zod';
import type { KnownInput } from '../provider/stray-sweep.ts';
import type { Mesh } from './cluster.ts';

export interface KnownInputs {
  /** Of all other nodes. Errors: NODE_UNREACHABLE and others, when one of them does not say it. */
  elsewhere(): Promise<KnownInput[]>;
}

const SUBJECT = 'known-inputs';
const TIMEOUT_MS = 10_000;

const answer = z.array(z.object({ streamId: z.string(), liveInputUid: z.string().optional() }));

/** @param own what this node has, or may have */
export function createKnownInputs(
  mesh: Pick<Mesh, 'answer' | 'call' | 'others'>,
  own: () => readonly KnownInput[],
): KnownInputs {
  mesh.answer(SUBJECT, () => own().map(({ streamId, liveInputUid }) => ({ streamId, liveInputUid })));
  return {
    async elsewhere() {
      const asked = mesh.others().map((nodeId) => mesh.call(nodeId, SUBJECT, {}, { timeoutMs: TIMEOUT_MS }));
      return (await Promise.all(asked)).flatMap((said) => answer.parse(said));
    },
  };
}
