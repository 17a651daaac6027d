/**
 * One sentence on a stream: what was wrong and from when, with its numbers, what viewers saw, and what to do about it.
 * Pure and deterministic; names no cause that no entry of the story shows, and quotes nobody's text, so no secret.
 */
import { isStreamOver } from '../../shared/stream.ts';
import { ownCodes, type TimelineEntry, type ToldStory } from './stream-story.ts';
import { type Cause, causeOfCode, causes } from './verdict-causes.ts';
import { clockTime, spanText, times } from './verdict-words.ts';

/** Longer than any that the rules can make. */
export const MAX_VERDICT_CHARS = 400;

/**
 * The rules, the first that speaks decides:
 * 1. it failed: the root of its last word, by the causes that entries name;
 * 2. the picture was lost: why it is gone, else the cause of most of the time without it;
 * 3. the picture is, or was, less than was asked for: uplink, heat, battery;
 * 4. something else was lost that viewers may miss: sound, an encoder;
 * 5. what cost them nothing: the glasses' line to the relay, a relay that was replaced, a slow provider;
 * 6. nothing was wrong: how it goes, or how it ended.
 */
export function verdictOf(story: ToldStory): string {
  const found = failureOf(story) ?? lossOf(story) ?? lesserOf(story);
  const parts = found
    ? [found.cause.says(found.entry, story), ...effect(story, found.entry), ...advice(found.cause, story)]
    : healthy(story);
  return parts.join('; ').slice(0, MAX_VERDICT_CHARS);
}

interface Found {
  cause: Cause;
  entry: TimelineEntry;
}

/** As far back as entries say why. */
function deepest(entry: TimelineEntry | undefined, entries: readonly TimelineEntry[]): Found | undefined {
  const here = found(entry);
  const deeper = entry && deepest(causeOf(entry, entries), entries);
  return deeper && !deeper.cause.isSymptom ? deeper : here;
}

function found(entry: TimelineEntry | undefined): Found | undefined {
  const cause = entry?.code === undefined ? undefined : causeOfCode(entry.code);
  return entry && cause && { cause, entry };
}

/** What the end goes back to: followed as far as entries say why, unless the last word is a cause by itself. */
function failureOf(story: ToldStory): Found | undefined {
  const { entries, errorCode } = story;
  if (!isStreamOver(story.state) || errorCode === undefined) return undefined;
  const last = entries.findLast(({ code, kind }) => kind === 'state' && code === errorCode);
  if (!last) return undefined;
  const own = found(last);
  if (own && !own.cause.isSymptom) return { cause: own.cause, entry: rootOf(last, own.cause, entries) };
  // Only somebody who looked knows what was first; the glasses' line alone loses no picture.
  for (let entry = causeOf(last, entries); entry; entry = causeOf(entry, entries)) {
    const deeper = found(entry);
    if (deeper && !deeper.cause.isSymptom && deeper.cause.losesPicture) return deeper;
  }
  return own ?? { cause: causes.unnamed, entry: last };
}

function causeOf(entry: TimelineEntry, entries: readonly TimelineEntry[]): TimelineEntry | undefined {
  const { because } = entry;
  return because === undefined ? undefined : entries.find(({ id }) => id === because && id < entry.id);
}

/** The first entry of the same cause on the way back. */
function rootOf(entry: TimelineEntry, cause: Cause, entries: readonly TimelineEntry[]): TimelineEntry {
  const earlier = causeOf(entry, entries);
  return earlier && found(earlier)?.cause === cause ? rootOf(earlier, cause, entries) : entry;
}

/** While the picture is gone, why it is gone now; else what took most of the time without it. */
function lossOf(story: ToldStory): Found | undefined {
  const { entries, record } = story;
  const told = entries.filter(({ state }) => state === 'interrupted');
  if (record.stalls.count === 0 || told.length === 0) return undefined;
  const whyOf = (entry: TimelineEntry) => deepest(causeOf(entry, entries), entries);
  const gone = isGone(story) ? told.at(-1) : undefined;
  if (gone) return whyOf(gone) ?? unknownLoss([gone]);
  const worst = worstCause(record);
  const isOfWorst = (entry: TimelineEntry | undefined) => entry?.code !== undefined && entry.code === worst;
  // A trouble of the start may have had the same code.
  const byCode = told.map((entry) => causeOf(entry, entries)).find(isOfWorst) ?? entries.find(isOfWorst);
  if (worst !== undefined && worst !== 'UNKNOWN') return deepest(byCode, entries) ?? unknownLoss(told);
  const unexplained = told.filter((entry) => whyOf(entry) === undefined);
  if (unexplained.length > 0) return unknownLoss(unexplained);
  return told.map(whyOf).find((one) => one !== undefined);
}

function worstCause({ stallCauses }: ToldStory['record']): string | undefined {
  const byTime = Object.entries(stallCauses).sort(
    ([one, a], [other, b]) => b.totalMs - a.totalMs || (one < other ? -1 : 1),
  );
  return byTime[0]?.[0];
}

function unknownLoss([first]: readonly TimelineEntry[]): Found | undefined {
  return first && { cause: causes.unknownStall, entry: first };
}

/** In the order of what they cost viewers. */
const LESSER: readonly Cause[] = [
  ...[causes.heat, causes.battery, causes.uplink, causes.camera, causes.encoder, causes.connection],
  ...[causes.microphone, causes.keyRefused, causes.controlLine, causes.takeOver, causes.provider],
];

function lesserOf({ entries, record }: ToldStory): Found | undefined {
  const firsts = new Map<Cause, TimelineEntry>();
  for (const told of entries) {
    const one = found(told) && deepest(told, entries);
    if (one && !firsts.has(one.cause) && one.cause.counts(one.entry, record)) firsts.set(one.cause, one.entry);
  }
  const cause = LESSER.find((one) => firsts.has(one));
  const entry = cause && firsts.get(cause);
  return cause && entry && { cause, entry };
}

/** What viewers had of it, and how it ended. */
function effect(story: ToldStory, cause: TimelineEntry): string[] {
  const { record, state, entries } = story;
  const wasLive = entries.some((entry) => entry.state === 'active') || record.timeToFirstFrameMs !== undefined;
  const isOver = isStreamOver(state);
  if (!wasLive) return [isOver ? 'viewers never saw a picture' : 'viewers have no picture yet'];
  const { count, totalMs } = record.stalls;
  if (isOver && story.errorCode !== undefined) {
    const last = entries.findLast((entry) => entry.state === 'interrupted' || entry.state === 'active');
    const lost =
      last?.state === 'interrupted' ? last : entries.find((entry) => entry.state && isStreamOver(entry.state));
    const at = lost ?? cause;
    return [`viewers had the picture for ${spanText(record.liveMs)} and lost it at ${clockTime(at.atMs)}`];
  }
  const first = entries.find((entry) => entry.state === 'active');
  if (count === 0 && cause.kind === 'trouble' && first && cause.id < first.id) {
    const waitedMs = record.timeToFirstFrameMs ?? first.atMs - (entries[0]?.atMs ?? first.atMs);
    return [`viewers waited ${spanText(waitedMs)} for the first picture and never lost it${endOf(story)}`];
  }
  if (count === 0) return [neverLost(story)];
  if (isGone(story)) return [`viewers have had no picture for ${spanText(openStallMs(story))}`];
  const howLong = count === 1 ? `for ${spanText(totalMs)}` : `${times(count)}, for ${spanText(totalMs)} in all`;
  return [`viewers lost the picture ${howLong}${endOf(story)}`];
}

/** Of an address of the app's own choice the relay sees no picture. */
function neverLost(story: ToldStory): string {
  const isSeen = story.kind !== 'unmanaged';
  return `${isSeen ? 'viewers never lost the picture' : 'whether viewers saw it the relay cannot tell'}${endOf(story)}`;
}

/** Not only unproven since another process took over. */
function isGone(story: ToldStory): boolean {
  return story.state === 'interrupted' && openStallMs(story) > 0;
}

function openStallMs({ record }: ToldStory): number {
  const closedMs = Object.values(record.stallCauses).reduce((sum, { totalMs }) => sum + totalMs, 0);
  return Math.max(0, record.stalls.totalMs - closedMs);
}

function advice({ advice: toDo }: Cause, story: ToldStory): string[] {
  const text = typeof toDo === 'function' ? toDo(story) : toDo;
  return text === undefined ? [] : [text];
}

function healthy(story: ToldStory): string[] {
  const { entries, record, state } = story;
  const { timeToFirstFrameMs: firstMs, liveMs, framesLost } = record;
  const [first] = entries;
  if (firstMs !== undefined) {
    const lost = framesLost > 0 ? `${Math.round(framesLost)} frames lost` : 'no frame lost';
    const what = story.kind === 'unmanaged' ? 'the glasses pushed' : 'first picture';
    const live = `${what} ${spanText(firstMs)} after the request, live for ${spanText(liveMs)}, ${lost}`;
    return [`all well: ${live}`, neverLost(story)];
  }
  const asked = first ? ` at ${clockTime(first.atMs)}` : '';
  if (isStreamOver(state)) return [`asked for${asked} and ended before there was a picture${endOf(story)}`];
  return [`asked for${asked}, on its way: ${standing(entries)}`];
}

function standing(entries: readonly TimelineEntry[]): string {
  const has = (wanted: string) => entries.some(({ code }) => code === wanted);
  if (has(ownCodes.publishing)) return 'the glasses push, and the provider has shown no picture yet';
  if (has(ownCodes.startSent)) return 'the glasses are asked to start and do not push yet';
  const isMade = entries.some(({ state }) => state === 'starting');
  return isMade ? 'the glasses have not been reached yet' : 'the provider is making its live input';
}

const ENDINGS: Readonly<Record<string, string>> = {
  [ownCodes.endedByOperator]: 'the operator ended it',
  [ownCodes.endedByLimit]: 'it reached its duration limit',
  [ownCodes.endedByGlasses]: 'the glasses ended it',
  [ownCodes.endedByRelay]: 'the relay shut down',
  [ownCodes.endedByViewers]: 'its last viewer left',
};

function endOf({ entries, state }: ToldStory): string {
  if (!isStreamOver(state)) return '';
  const entry = entries.findLast(({ code }) => code !== undefined && Object.hasOwn(ENDINGS, code));
  return entry ? `, and ${ENDINGS[entry.code ?? '']} at ${clockTime(entry.atMs)}` : '';
}
