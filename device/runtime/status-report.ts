/**
 * The agent's status for people and for the unit's status line. Reads what `GET /status` says, of this version or another:
 * what is missing or new is passed over. Asks nobody.
 */
import * as z from 'zod';

const quality = z
  .object({
    widthPx: z.number(),
    heightPx: z.number(),
    frameRate: z.number(),
    videoBitrateBps: z.number(),
    encoder: z.string(),
  })
  .partial();

/** Any part may be missing; one of another form counts as missing. */
const part = <Schema extends z.ZodType>(schema: Schema) => schema.optional().catch(undefined);

export const statusReport = z.object({
  agent: part(
    z.object({
      version: z.string(),
      lastUpdate: part(z.object({ version: z.string(), outcome: z.string(), reason: part(z.string()) })),
    }),
  ),
  connected: part(z.boolean()),
  relayUrl: part(z.string()),
  /** Why the relay is not reached. */
  cause: part(z.string()),
  ffmpeg: part(z.object({ file: z.string(), version: z.string() })),
  stream: part(
    z.object({
      streamId: z.string(),
      state: z.string(),
      /** What the app asked for, what was agreed on, and what is really sent. */
      requested: part(quality),
      negotiated: part(quality),
      measured: part(quality),
    }),
  ),
  light: part(z.object({ isLit: z.boolean(), name: part(z.string()) })),
  temperatureC: part(z.number()),
  batteryPercent: part(z.number()),
  isCharging: part(z.boolean()),
  /** What waits for the ingest. */
  backlog: part(z.object({ ms: part(z.number()), bytes: part(z.number()), diskBytes: part(z.number()) })),
  /** The newest last. */
  notices: part(z.array(z.object({ text: z.string() }))),
});
export type StatusReport = z.output<typeof statusReport>;

/** Of a stream's state. */
export const hasEnded = (state: string): boolean => /^(stopped|failed)$/.test(state);

/** One line: what it does now. */
export function statusSummary(report: StatusReport): string {
  const { connected, cause, stream } = report;
  const relay = connected ? 'connected' : `no relay${cause ? ` (${cause})` : ''}`;
  const doing = stream && !hasEnded(stream.state) ? `stream ${stream.streamId} ${stream.state}` : 'idle';
  return plain(`${doing}, ${relay}`);
}

/** Lines for people. @param answer what `GET /status` said. */
export function statusLines(answer: unknown): string[] {
  const report = statusReport.safeParse(answer).data;
  if (!report) return ['The agent answers, but not with a status'];
  const { connected, relayUrl, cause, stream, light, ffmpeg, backlog, temperatureC, batteryPercent, notices } = report;
  const update = report.agent?.lastUpdate;
  const rows: [string, string | undefined][] = [
    ['Agent', report.agent?.version],
    ['Last update', update && `${update.version} ${update.outcome.replace('_', ' ')}${because(update.reason)}`],
    ['Relay', `${connected ? 'connected' : 'not connected'}${relayUrl ? ` to ${relayUrl}` : ''}${because(cause)}`],
    ['Stream', stream ? `${stream.streamId}, ${stream.state}` : 'none'],
    ['  requested', stream?.requested && qualityText(stream.requested)],
    ['  negotiated', stream?.negotiated && qualityText(stream.negotiated)],
    ['  measured', stream?.measured && qualityText(stream.measured)],
    ['Backlog', backlog && backlogText(backlog)],
    ['Privacy light', light && `${light.isLit ? 'lit' : 'out'}${light.name ? ` (${light.name})` : ''}`],
    ['Temperature', temperatureC === undefined ? undefined : `${Math.round(temperatureC)} °C`],
    ['Battery', batteryPercent === undefined ? undefined : batteryText(batteryPercent, report.isCharging)],
    ['ffmpeg', ffmpeg && `${ffmpeg.version}, ${ffmpeg.file}`],
    ['Last notice', notices?.at(-1)?.text],
  ];
  return rows.flatMap(([name, text]) => (text === undefined ? [] : [`${name.padEnd(15)}${plain(text)}`]));
}

const because = (cause: string | undefined) => (cause ? `: ${cause}` : '');

function qualityText({ widthPx, heightPx, frameRate, videoBitrateBps, encoder }: z.output<typeof quality>): string {
  const parts = [
    widthPx === undefined || heightPx === undefined ? undefined : `${widthPx}×${heightPx}`,
    frameRate === undefined ? undefined : `${Number(frameRate.toFixed(1))} frames/s`,
    videoBitrateBps === undefined ? undefined : `${(videoBitrateBps / 1e6).toFixed(2)} Mbit/s`,
    encoder,
  ];
  return parts.filter((text) => text !== undefined).join(', ');
}

function backlogText({ ms, bytes, diskBytes }: NonNullable<StatusReport['backlog']>): string {
  const parts = [
    ms === undefined ? undefined : `${(ms / 1000).toFixed(1)} s`,
    bytes === undefined ? undefined : `${Math.round(bytes / 1000)} kB`,
    diskBytes ? `of it ${Math.round(diskBytes / 1000)} kB on disk` : undefined,
  ];
  return parts.filter((text) => text !== undefined).join(', ') || 'none';
}

function batteryText(percent: number, isCharging: boolean | undefined): string {
  return `${Math.round(percent)} %${isCharging ? ', charging' : ''}`;
}

/** Ids and causes come from outside: nothing that a terminal would obey. */
function plain(text: string): string {
  return text.replace(/\p{Cc}/gu, ' ').trim();
}
