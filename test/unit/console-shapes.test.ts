/** What the console reads is what the relay says: held by the compiler, on both sides of the JSON between them. */
import { describe, expect, it } from 'vitest';
import { CONSOLE_APP as APP_IN_THE_RELAY } from '../../cloud/apps/app-catalog.ts';
import { CONSOLE_APP } from '../../cloud/console/console-state.ts';
import type * as shapes from '../../cloud/console/relay-shapes.ts';
import type * as feed from '../../cloud/http/event-feed.ts';
import type { RecordingList } from '../../cloud/provider/recordings.ts';
import type { EndedStream, Explanation } from '../../cloud/streams/stream-history.ts';

/** JSON leaves out what is undefined. */
type Told<T> = T extends readonly (infer Item)[]
  ? Told<Item>[]
  : T extends object
    ? { [K in keyof T as undefined extends T[K] ? never : K]: Told<T[K]> } & {
        [K in keyof T as undefined extends T[K] ? K : never]?: Told<Exclude<T[K], undefined>>;
      }
    : T;

/** Does nothing; does not compile when the first fits not into the second. */
const fits = <_Given extends Wanted, Wanted>(): boolean => true;

describe('the shapes of the console', () => {
  it('take everything that the relay tells', () => {
    const all = [
      fits<Told<feed.RelayEvent>, shapes.RelayEvent>(),
      fits<Told<feed.SessionView>, shapes.SessionView>(),
      fits<Told<EndedStream>, shapes.EndedStream>(),
      fits<Told<Explanation>, shapes.Explanation>(),
      fits<Told<RecordingList>, shapes.RecordingList>(),
    ];
    expect(all).not.toContain(false);
  });
  it('know the console’s own app by its name', () => {
    expect(CONSOLE_APP).toBe(APP_IN_THE_RELAY);
  });
});
