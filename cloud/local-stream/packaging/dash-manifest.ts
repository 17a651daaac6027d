/** Writes a DASH MPD (ISO/IEC 23009-1, live or on-demand profile with SegmentTimeline) from a presentation. Pure text. */
import type { TrackKind } from './fmp4.ts';
import type { Period, Segment, TrackDescription } from './packager.ts';
import { bandwidthBps, durationMs, type Presentation, totalMs, wallMs } from './presentation.ts';

/**
 * @param segmentBase address of the folder of segments, ending in a slash, as the player will resolve it.
 * @param nowMs our wall clock: a live player that is not told asks a time server somewhere on the internet.
 */
export function mpd(presentation: Presentation, segmentBase: string, nowMs: number): string {
  const { isEnded, startedMs, longestMs, segments } = presentation;
  const newest = segments.video.at(-1);
  const publishedMs = newest ? wallMs(newest, presentation.periods) + durationMs(newest) : startedMs;
  const longest = seconds(Math.max(1000, longestMs));
  const timing = isEnded
    ? `type="static" mediaPresentationDuration="${seconds(totalMs(presentation))}"`
    : `type="dynamic" availabilityStartTime="${iso(startedMs)}" publishTime="${iso(publishedMs)}" minimumUpdatePeriod="PT1S" ` +
      `timeShiftBufferDepth="${seconds(totalMs(presentation))}" suggestedPresentationDelay="${seconds(3 * Math.max(1000, longestMs))}"`;
  const profile = isEnded ? 'urn:mpeg:dash:profile:isoff-on-demand:2011' : 'urn:mpeg:dash:profile:isoff-live:2011';
  const ofPeriods = { video: byPeriod(presentation.segments.video), audio: byPeriod(presentation.segments.audio) };
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="${profile}" ${timing} minBufferTime="PT1S" maxSegmentDuration="${longest}">`,
    `  <BaseURL>${segmentBase}</BaseURL>`,
    ...periodStarts(presentation, ofPeriods.video).map((placed) => periodElement(ofPeriods, placed)),
    ...(isEnded ? [] : [`  <UTCTiming schemeIdUri="urn:mpeg:dash:utc:direct:2014" value="${iso(nowMs)}"/>`]),
    '</MPD>',
    '',
  ].join('\n');
}

interface PlacedPeriod {
  period: Period;
  /** On the MPD's timeline: the wall clock's while live, so that the live edge is now; without pauses afterwards. */
  atMs: number;
}

type SegmentsOfPeriods = ReadonlyMap<number, readonly Segment[]>;

function byPeriod(segments: readonly Segment[]): SegmentsOfPeriods {
  const found = new Map<number, Segment[]>();
  for (const segment of segments) {
    const ofPeriod = found.get(segment.period);
    if (ofPeriod) ofPeriod.push(segment);
    else found.set(segment.period, [segment]);
  }
  return found;
}

function periodStarts({ periods, startedMs, isEnded }: Presentation, pictures: SegmentsOfPeriods): PlacedPeriod[] {
  const shown = periods.filter(({ index }) => pictures.has(index));
  const firstMs = isEnded ? (shown[0]?.startMs ?? 0) : 0;
  const placed: PlacedPeriod[] = [];
  for (const period of shown) {
    const before = placed.at(-1);
    const earliestMs = before ? before.atMs + period.startMs - before.period.startMs : 0;
    const atMs = isEnded ? period.startMs - firstMs : Math.max(earliestMs, period.wallMs - startedMs);
    placed.push({ period, atMs });
  }
  return placed;
}

function periodElement(segments: Record<TrackKind, SegmentsOfPeriods>, { period, atMs }: PlacedPeriod): string {
  const ours = (track: TrackKind) => segments[track].get(period.index) ?? [];
  const sets = [adaptationSet('video', period, period.video, ours('video'))];
  const audio = ours('audio');
  if (period.audio && audio.length > 0) sets.push(adaptationSet('audio', period, period.audio, audio));
  return [`  <Period id="${period.index}" start="${seconds(atMs)}">`, ...sets, '  </Period>'].join('\n');
}

function adaptationSet(
  track: TrackKind,
  period: Period,
  about: TrackDescription,
  segments: readonly Segment[],
): string {
  const offset = Math.round((period.startMs * about.timescale) / 1000);
  const size =
    track === 'video' ? ` width="${about.width}" height="${about.height}"` : ` audioSamplingRate="${about.timescale}"`;
  const channels = `          <AudioChannelConfiguration schemeIdUri="urn:mpeg:dash:23003:3:audio_channel_configuration:2011" value="${about.channels}"/>`;
  return [
    `    <AdaptationSet id="${track === 'video' ? 0 : 1}" contentType="${track}" mimeType="${track}/mp4" segmentAlignment="true" startWithSAP="1">`,
    `      <SegmentTemplate timescale="${about.timescale}" presentationTimeOffset="${offset}" startNumber="${segments[0]?.number ?? 0}"` +
      ` initialization="${track}-init-${period.index}.mp4" media="${track}-$Number$.m4s">`,
    `        <SegmentTimeline>${timeline(segments)}</SegmentTimeline>`,
    '      </SegmentTemplate>',
    `      <Representation id="${track}" codecs="${about.codec}" bandwidth="${bandwidthBps(segments).peak}"${size}>`,
    ...(track === 'audio' ? [channels] : []),
    '      </Representation>',
    '    </AdaptationSet>',
  ].join('\n');
}

/** Runs of equal, touching segments become one element. */
function timeline(segments: readonly Segment[]): string {
  const runs: { startTicks: number; durationTicks: number; repeats: number }[] = [];
  for (const { startTicks, durationTicks } of segments) {
    const run = runs.at(-1);
    const isNext = run && startTicks === run.startTicks + run.durationTicks * (run.repeats + 1);
    if (isNext && run.durationTicks === durationTicks) run.repeats += 1;
    else runs.push({ startTicks, durationTicks, repeats: 0 });
  }
  return runs
    .map(
      ({ startTicks, durationTicks, repeats }) =>
        `<S t="${startTicks}" d="${durationTicks}"${repeats ? ` r="${repeats}"` : ''}/>`,
    )
    .join('');
}

function seconds(ms: number): string {
  return `PT${(ms / 1000).toFixed(3)}S`;
}
function iso(ms: number): string {
  return new Date(ms).toISOString();
}
