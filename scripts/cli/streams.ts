/** `glasscast streams`: what is on the air, live, and the operator's own start and stop. */
import type { Command } from 'commander';
import * as z from 'zod';
import { isGlasscastError } from '../../shared/errors.ts';
import { type Cli, type Run, segment, wholeNumber } from './commands.ts';
import { explain } from './explain.ts';
import { harmless, type Style, type Terminal } from './terminal.ts';

/** What is shown of a stream; `--json` passes everything on. */
const stream = z.looseObject({
  streamId: z.string(),
  userId: z.string(),
  kind: z.string().optional(),
  state: z.string(),
  createdAt: z.string(),
  viewers: z.array(z.string()),
  urls: z.looseObject({ hlsUrl: z.string() }).optional(),
  outputs: z
    .array(
      z.looseObject({
        url: z.string(),
        name: z.string().optional(),
        status: z.string(),
        error: z.string().optional(),
      }),
    )
    .optional(),
  liveMs: z.number().optional(),
  stats: z
    .looseObject({
      bitrate: z.number().optional(),
      fps: z.number().optional(),
      droppedFrames: z.number().optional(),
      width: z.number().optional(),
      height: z.number().optional(),
    })
    .optional(),
  message: z.string().optional(),
});
type Stream = z.output<typeof stream>;
const streamList = z.looseObject({ streams: z.array(stream) });
const streamEvent = z.object({ type: z.literal('stream'), stream });

const RETRY_MS = 1_000;

export function addStreamCommands(program: Command, run: Run): void {
  const streams = program.command('streams').description('what is on the air');
  streams.command('list').description('every stream that is not over').action(run(list));
  streams.command('show <streamId>').description('one stream in full').action(run(show));
  streams
    .command('explain <streamId>')
    .description('what happened to it and why, with one sentence at the end; also when it is over')
    .action(run(explain));
  streams
    .command('watch')
    .description('streams as they change, a line each, until Ctrl-C')
    .option('--user <email>', 'of this user alone')
    .action(run(watch));
  streams
    .command('start <user>')
    .description("start this user's managed stream, or join it, as the operator")
    .option('--width <px>', 'picture', wholeNumber)
    .option('--height <px>', 'picture', wholeNumber)
    .option('--frame-rate <fps>', 'frames per second', wholeNumber)
    .option('--bitrate <bps>', 'video, bits per second', wholeNumber)
    .action(run(start));
  streams
    .command('stop <user>')
    .description('stop what the operator started; the stream goes on while apps watch it')
    .action(run(stop));
  streams.command('end <streamId>').description('end it for everybody who watches it').action(run(end));
  streams.command('outputs <streamId>').description('where a stream is pushed on to').action(run(outputs));
}

async function list({ api, terminal }: Cli): Promise<void> {
  const answer = await api.ask('GET', '/api/streams', streamList);
  const rows = answer.streams.map((each) => row(each, terminal));
  terminal.result(
    answer,
    terminal.table(['STREAM', 'USER', 'STATE', 'VIEWERS', 'PICTURE', 'SINCE'], rows, 'No streams.'),
  );
}

function row(each: Stream, terminal: Terminal): string[] {
  const state = terminal.style(styleOf(each.state), each.state);
  return [each.streamId, harmless(each.userId), state, String(each.viewers.length), pictureOf(each), each.createdAt];
}

async function show({ api, terminal }: Cli, streamId: string): Promise<void> {
  const found = await api.ask('GET', `/api/streams/${segment(streamId)}`, stream);
  const lines: [string, string][] = [
    ['stream', found.streamId],
    ['user', harmless(found.userId)],
    ['state', terminal.style(styleOf(found.state), found.state)],
    ['message', harmless(found.message)],
    ['since', found.createdAt],
    ['live after', found.liveMs === undefined ? '' : `${(found.liveMs / 1000).toFixed(1)} s`],
    ['picture', pictureOf(found)],
    ['viewers', found.viewers.map(harmless).join(', ')],
    ...Object.entries(found.urls ?? {}).map(([name, url]): [string, string] => [name, harmless(String(url ?? ''))]),
    ...(found.outputs ?? []).map((output): [string, string] => ['output', outputText(output)]),
  ];
  const told = lines.filter(([, text]) => text !== '');
  terminal.result(
    found,
    told.map(([name, text]) => `${terminal.style('dim', name.padEnd(14))}${text}`),
  );
}

async function start({ api, terminal }: Cli, user: string, asked: Record<string, number>): Promise<void> {
  const video = Object.keys(asked).length > 0 ? { video: asked } : {};
  const started = await api.ask('POST', `/api/users/${segment(user)}/managed-stream`, stream, video);
  const { streamId, state } = started;
  terminal.result(started, [`${streamId} is ${state}; "glasscast streams watch" shows how it goes.`]);
}

async function stop({ api, terminal }: Cli, user: string): Promise<void> {
  const answer = await api.ask('DELETE', `/api/users/${segment(user)}/managed-stream`, z.looseObject({}));
  terminal.result(answer, ['The operator has left the stream.']);
}

async function end({ api, terminal }: Cli, streamId: string): Promise<void> {
  const answer = await api.ask('DELETE', `/api/streams/${segment(streamId)}`, z.looseObject({}));
  terminal.result({ streamId, ...answer }, [`${streamId} ends.`]);
}

async function outputs({ api, terminal }: Cli, streamId: string): Promise<void> {
  const { outputs: found = [] } = await api.ask('GET', `/api/streams/${segment(streamId)}`, stream);
  const rows = found.map(({ url, name, status, error }) => [
    harmless(name),
    harmless(url),
    terminal.style(styleOf(status), status),
    harmless(error),
  ]);
  terminal.result(
    { streamId, outputs: found },
    terminal.table(['NAME', 'DESTINATION', 'STATUS', ''], rows, 'No outputs.'),
  );
}

/** Goes on over a restart of the relay; the first attempt has to succeed, so that a wrong address is told. */
async function watch(cli: Cli, { user }: { user?: string }): Promise<void> {
  const { api, clock, terminal } = cli;
  const stopping = new AbortController();
  process.once('SIGINT', () => stopping.abort());
  const lastLines = new Map<string, string>();
  const tell = (each: Stream) => {
    if (user !== undefined && each.userId !== user.toLowerCase()) return;
    const line = lineOf(each, terminal);
    if (lastLines.get(each.streamId) === line) return;
    lastLines.set(each.streamId, line);
    terminal.line(each, `${terminal.style('dim', timeOf(clock.now()))}  ${line}`);
  };
  let isFirst = true;
  let isAway = false;
  while (!stopping.signal.aborted) {
    try {
      const events = await api.events(stopping.signal);
      // Asked for once the events are listened to, so that nothing falls between.
      for (const each of (await api.ask('GET', '/api/streams', streamList)).streams) tell(each);
      if (isFirst && lastLines.size === 0) terminal.note('Nothing is on the air. Ctrl-C ends this.');
      isFirst = false;
      isAway = false;
      for await (const event of events) {
        const parsed = streamEvent.safeParse(event);
        if (parsed.success) tell(parsed.data.stream);
      }
    } catch (error) {
      const comesBack = isGlasscastError(error) && ['RELAY_UNREACHABLE', 'SHUTTING_DOWN'].includes(error.code);
      if (stopping.signal.aborted) return;
      if (isFirst || !comesBack) throw error;
    }
    if (stopping.signal.aborted) return;
    if (!isAway) terminal.note('The relay is away; waiting for it …');
    isAway = true;
    await clock.sleep(RETRY_MS, { signal: stopping.signal }).catch(() => {});
  }
}

function lineOf(each: Stream, terminal: Terminal): string {
  const { streamId, userId, state, viewers, message } = each;
  const parts = [
    streamId,
    harmless(userId),
    terminal.style(styleOf(state), state),
    `${viewers.length} viewer${viewers.length === 1 ? '' : 's'}`,
    pictureOf(each),
    harmless(message),
  ];
  return parts.filter(Boolean).join('  ');
}

function pictureOf({ stats }: Stream): string {
  if (!stats) return '';
  const { width, height, fps, bitrate, droppedFrames } = stats;
  return [
    ...(width && height ? [`${width}x${height}`] : []),
    ...(fps === undefined ? [] : [`${Math.round(fps)} fps`]),
    ...(bitrate === undefined ? [] : [`${(bitrate / 1e6).toFixed(2)} Mbit/s`]),
    ...(droppedFrames ? [`${droppedFrames} dropped`] : []),
  ].join(' ');
}

function outputText({ url, name, status, error }: NonNullable<Stream['outputs']>[number]): string {
  return [name, url, status, error].map(harmless).filter(Boolean).join('  ');
}

/** Hours, minutes and seconds here. */
function timeOf(nowMs: number): string {
  return new Date(nowMs).toTimeString().slice(0, 8);
}

function styleOf(state: string): Style {
  if (state === 'active') return 'green';
  return ['failed', 'error'].includes(state) ? 'red' : 'yellow';
}
