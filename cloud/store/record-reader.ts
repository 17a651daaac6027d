/** From a stored text to a record, or to nothing when another version wrote it: the same for every store. */
import type * as z from 'zod';
import { GlasscastError } from '../../shared/errors.ts';

/** A record is passed over: another version wrote it. @param reason holds nothing of the record. */
export type OnUnreadable = (record: { kind: string; key: string; reason: string }) => void;

export interface RecordReaderOptions<T> {
  schema: z.ZodType<T>;
  isVital: boolean;
  /** Where the records are, for the refusal: `data folder /x`. */
  place: string;
  onUnreadable: OnUnreadable | undefined;
}

/** None or one. @throws GlasscastError INVALID_CONFIG when a vital record cannot be read */
export function createRecordReader<T>(
  kind: string,
  { schema, isVital, place, onUnreadable }: RecordReaderOptions<T>,
): (key: string, body: string) => T[] {
  return (key, body) => {
    const reading = schema.safeParse(fromJson(body));
    if (reading.success) return [reading.data];
    const reason = `not readable by this version: ${reading.error.issues.map(({ path }) => path.join('.')).join(', ')}`;
    if (isVital) {
      throw new GlasscastError('INVALID_CONFIG', {
        reason: `${place}: the record ${kind} ${key} is ${reason}; use the version that wrote it, or delete the record`,
      });
    }
    onUnreadable?.({ kind, key, reason });
    return [];
  };
}

function fromJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
