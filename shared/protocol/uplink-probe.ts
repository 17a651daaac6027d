/** How glasses measure their uplink without a stream: `POST /api/uplink-probe`. Normative text: PROTOCOL.md. */
import * as z from 'zod';

export const UPLINK_PROBE_PATH = '/api/uplink-probe';

/** Of one body: 8 MB. */
export const MAX_UPLINK_PROBE_BYTES = 8_000_000;
/** After which the relay reads no more and answers. */
export const MAX_UPLINK_PROBE_MS = 5_000;

export const uplinkProbeAnswer = z.object({
  /** What the relay has read of the body. */
  bytes: z.number().int().min(0),
  /** How long it has read. */
  ms: z.number().min(0),
});
export type UplinkProbeAnswer = z.output<typeof uplinkProbeAnswer>;
