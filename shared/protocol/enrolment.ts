/** How glasses turn a one-time code into their core token: `POST /api/enrol`. Normative text: PROTOCOL.md. */
import * as z from 'zod';

export const ENROL_PATH = '/api/enrol';

export const enrolmentRequest = z.strictObject({
  /** As a person typed it. */
  code: z.string().min(1).max(64),
});

export const enrolmentAnswer = z.object({
  userId: z.string().min(1),
  /** Good until `expiresAt` (ISO 8601); null: it does not expire. */
  coreToken: z.string().min(1),
  expiresAt: z.iso.datetime().nullable(),
});
export type EnrolmentAnswer = z.output<typeof enrolmentAnswer>;
