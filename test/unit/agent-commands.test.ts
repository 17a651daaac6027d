import { EventEmitter } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { outliveReader, parseCommand, runDevices, runDoctor, runStatus } from '../../device/runtime/commands.ts';
import { bad, checkOf } from '../../device/runtime/doctor.ts';
import { statusLines, statusReport, statusSummary } from '../../device/runtime/status-report.ts';
import { openStatusSocket } from '../../device/runtime/status-socket.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { isGlasscastError } from '../../shared/errors.ts';
import { silentLog } from '../../shared/log.ts';

function terminal(isJson = false) {
  const texts = { output: '', errors: '' };
  const to = (name: keyof typeof texts) => ({
    write(text: string) {
      texts[name] += text;
    },
  });
  return { texts, print: { isJson, output: to('output'), errors: to('errors') } };
}

describe('the first word', () => {
  it.each([
    [[], { name: 'run', args: [] }],
    [['--source', 'test-pattern'], { name: 'run', args: ['--source', 'test-pattern'] }],
    [['run', '--json'], { name: 'run', args: ['--json'], isJson: false }],
    [['--version'], { name: 'version', args: [] }],
    [['version'], { name: 'version' }],
    [['help'], { name: 'run', args: ['--help'] }],
    [['status', '--json', '--status-socket', 'x'], { name: 'status', args: ['--status-socket', 'x'], isJson: true }],
    [['doctor', '--help'], { name: 'doctor', args: ['--help'], isJson: false }],
  ])('of %j', (args, command) => expect(parseCommand(args)).toMatchObject(command));

  it('is a command or INVALID_CONFIG, whatever it is', () => {
    fc.assert(
      fc.property(fc.array(fc.string()), (args) => {
        try {
          parseCommand(args);
        } catch (error) {
          expect(isGlasscastError(error) && error.code).toBe('INVALID_CONFIG');
        }
      }),
    );
    expect(() => parseCommand(['statsu'])).toThrow(/no command "statsu"; there are run, status, doctor, devices/);
  });
});

it('a reader who stops early ends nothing; any other trouble with the output does', () => {
  const output = new EventEmitter();
  outliveReader(output);
  const fails = (code: string) => () => output.emit('error', Object.assign(new Error(code), { code }));
  expect(fails('EPIPE')).not.toThrow();
  expect(fails('ENOSPC')).toThrow('ENOSPC');
});

describe('status', () => {
  const full = {
    connected: true,
    agent: {
      version: '0.2.0',
      lastUpdate: { version: '0.3.0', outcome: 'rolled_back', reason: 'no video encoder works' },
    },
    relayUrl: 'ws://relay/glasses-ws',
    stream: {
      streamId: 'm1234567890',
      state: 'publishing',
      requested: { widthPx: 1280, heightPx: 720, frameRate: 30, videoBitrateBps: 2_000_000 },
      negotiated: { widthPx: 640, heightPx: 360, frameRate: 30, videoBitrateBps: 600_000, encoder: 'libx264' },
      measured: { frameRate: 29.96, videoBitrateBps: 612_345 },
    },
    light: { isLit: true, name: 'led:cam' },
    temperatureC: 51.6,
    batteryPercent: 80,
    isCharging: true,
    backlog: { ms: 420, bytes: 105_000, diskBytes: 0 },
    ffmpeg: { file: '/usr/bin/ffmpeg', version: '5.1' },
    notices: [{ text: 'The uplink is narrow' }],
  };

  it('is told to people', () => {
    expect(statusLines(full)).toEqual([
      'Agent          0.2.0',
      'Last update    0.3.0 rolled back: no video encoder works',
      'Relay          connected to ws://relay/glasses-ws',
      'Stream         m1234567890, publishing',
      '  requested    1280×720, 30 frames/s, 2.00 Mbit/s',
      '  negotiated   640×360, 30 frames/s, 0.60 Mbit/s, libx264',
      '  measured     30 frames/s, 0.61 Mbit/s',
      'Backlog        0.4 s, 105 kB',
      'Privacy light  lit (led:cam)',
      'Temperature    52 °C',
      'Battery        80 %, charging',
      'ffmpeg         5.1, /usr/bin/ffmpeg',
      'Last notice    The uplink is narrow',
    ]);
  });

  it('of an older or newer agent is told as far as it is understood, and obeyed by no terminal', () => {
    expect(statusLines({ connected: false, cause: 'no\u001b[31m way', stream: 7, backlog: {}, more: {} })).toEqual([
      'Relay          not connected: no [31m way',
      'Stream         none',
      'Backlog        none',
    ]);
    expect(statusLines('nonsense')).toEqual([expect.stringContaining('not with a status')]);
    fc.assert(fc.property(fc.jsonValue(), (any) => void statusLines(any)));
  });

  it('is one line for systemd', () => {
    const line = (report: unknown) => statusSummary(statusReport.parse(report));
    expect(line(full)).toBe('stream m1234567890 publishing, connected');
    expect(line({ connected: false, cause: 'enrolling', stream: { streamId: 'm', state: 'stopped' } })).toBe(
      'idle, no relay (enrolling)',
    );
  });

  it('has an exit code for scripts', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'glasscast-commands-'));
    const [path, clock] = [join(folder, 's'), createSystemClock()];
    const socket = await openStatusSocket({ path, status: () => full, log: silentLog() });
    const [people, machines] = [terminal(), terminal(true)];
    expect(await runStatus(path, clock, people.print)).toBe(0);
    expect(await runStatus(path, clock, machines.print)).toBe(0);
    expect(people.texts.output).toContain('Stream         m1234567890, publishing\n');
    expect(JSON.parse(machines.texts.output)).toEqual(full);
    await socket.close();
    expect(await runStatus(path, clock, people.print)).toBe(1);
    expect(people.texts.errors).toBe(`The agent is not reachable: ${path}: no agent is running there\n`);
    machines.texts.output = '';
    expect(await runStatus(undefined, clock, machines.print)).toBe(1);
    expect(JSON.parse(machines.texts.output)).toMatchObject({ error: 'NOT_REACHABLE' });
    rmSync(folder, { recursive: true });
  });
});

describe('doctor and devices', () => {
  const fine = checkOf('one', true, async () => 'fine');
  const broken = { name: 'two', isNeeded: true, look: async () => bad('broken', 'mend it') };

  it('say it to people and to machines, with an exit code', async () => {
    const [people, machines] = [terminal(), terminal(true)];
    expect(await runDoctor([fine], false, people.print)).toBe(0);
    expect(await runDoctor([fine, broken], true, people.print)).toBe(1);
    expect(people.texts.output).toMatch(/✓ one +fine\nReady to stream\n[\s\S]*→ mend it\nNot ready to stream\n$/);
    expect(await runDoctor([fine, broken], false, machines.print)).toBe(1);
    expect(JSON.parse(machines.texts.output)).toEqual({
      isWell: false,
      checks: [
        { name: 'one', isNeeded: true, state: 'ok', text: 'fine' },
        { name: 'two', isNeeded: true, state: 'bad', text: 'broken', next: 'mend it' },
      ],
    });
    people.texts.output = '';
    const devices = async () => ({
      ...{ lines: ['a camera\u001b[31m', '  of two lines'], data: { cameras: ['a camera'] } },
    });
    expect(await runDevices(devices, people.print)).toBe(0);
    expect(people.texts.output).toBe('a camera [31m\n  of two lines\n');
    machines.texts.output = '';
    expect(await runDevices(devices, machines.print)).toBe(0);
    expect(JSON.parse(machines.texts.output)).toEqual({ cameras: ['a camera'] });
  });
});
