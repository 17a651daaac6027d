/**
 * Streams of the operator's own, and outputs on anybody's: the built-in app that the console is. Bound by the rules for
 * apps, but for one: it removes what others have added.
 */
import { GlasscastError } from '../../shared/errors.ts';
import { isStreamOver } from '../../shared/stream.ts';
import { CONSOLE_APP } from '../apps/app-catalog.ts';
import type { OperatorRoutesOptions } from '../http/operator-routes.ts';
import { operatorOutput } from '../provider/output-views.ts';
import type { RestreamOutputs } from '../provider/restream-outputs.ts';
import type { GlassesLink } from './stream-orders.ts';
import type { StreamRegistry } from './stream-registry.ts';
import type { StreamSnapshot } from './stream-views.ts';
import type { Viewer } from './viewers.ts';

/** The operator's page watches like any app; what it hears, it hears through the events. */
export const operator: Viewer = { id: CONSOLE_APP, deliver() {} };

export function operatorStream(
  sessions: { get(userId: string): (GlassesLink & { isKnown(): boolean }) | undefined },
  streams: Pick<StreamRegistry, 'check' | 'leave' | 'outputs' | 'removeViewer' | 'request' | 'snapshots'>,
  /** Throws STORE_UNAVAILABLE when a new stream could not be begun. */
  requireStore: () => Promise<void> = async () => {},
): OperatorRoutesOptions['operatorStream'] {
  function outputsOf(userId: string): RestreamOutputs {
    const found = streams.snapshots().find((stream) => stream.userId === userId && !isStreamOver(stream.state));
    if (found?.kind !== 'managed') throw new GlasscastError('STREAM_NOT_FOUND');
    const outputs = streams.outputs(found.streamId)?.outputs;
    if (!outputs) throw new GlasscastError('OUTPUTS_NOT_READY');
    return outputs;
  }
  function openStreamOf(userId: string): StreamSnapshot | undefined {
    const streamId = streams.check(userId, operator.id).streamInfo?.streamId;
    return streams.snapshots().find((stream) => stream.streamId === streamId);
  }
  return {
    async start(userId, request) {
      // Of its failure a moment later nobody would be told here.
      if (!openStreamOf(userId)) await requireStore();
      const session = sessions.get(userId);
      if (!session?.isKnown()) throw new GlasscastError('GLASSES_NOT_CONNECTED');
      // Nobody would hear of the refusal: the operator's page reads no statuses.
      if (streams.check(userId, operator.id).streamInfo?.type === 'unmanaged') {
        throw new GlasscastError('UNMANAGED_STREAM_ACTIVE');
      }
      const told = new Promise<unknown>((resolve) => {
        streams.request(userId, { id: operator.id, deliver: resolve }, request, session);
      });
      // While an earlier one is ending, the first word is of the one that comes after it, or why there is none.
      if (!openStreamOf(userId)) await told;
      const snapshot = openStreamOf(userId);
      if (!snapshot) throw new GlasscastError('STREAM_NOT_FOUND', { reason: 'it ended before it began' });
      return snapshot;
    },
    stop: (userId) => streams.leave(userId, operator),
    removeViewer(streamId, packageName) {
      const message = `The operator has removed ${packageName} from the stream`;
      if (streams.removeViewer(streamId, packageName, message)) return;
      const isThere = streams.snapshots().some((stream) => stream.streamId === streamId);
      throw new GlasscastError(isThere ? 'VIEWER_NOT_FOUND' : 'STREAM_NOT_FOUND');
    },
    addOutput: async (userId, destination) => operatorOutput(await outputsOf(userId).add(operator.id, destination)),
    async removeOutput(userId, outputId) {
      const outputs = outputsOf(userId);
      const found = outputs.list().find((output) => output.outputId === outputId);
      if (!found) throw new GlasscastError('OUTPUT_NOT_FOUND');
      await outputs.remove(found.addedBy, outputId);
    },
  };
}
