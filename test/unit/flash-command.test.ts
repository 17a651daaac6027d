/** `glasscast flash` as a command line: what it refuses before it goes anywhere, and how steps are told. */
import { describe, expect, it } from 'vitest';
import { runCommandLine } from '../../scripts/cli/command-line.ts';
import { agentUrlOf, teller } from '../../scripts/cli/flash.ts';
import { createTerminal } from '../../scripts/cli/terminal.ts';

async function run(args: string[], environment: Record<string, string> = {}) {
  const out: string[] = [];
  const err: string[] = [];
  const code = await runCommandLine(['flash', ...args], {
    environment,
    output: { write: (text) => void out.push(text) },
    errors: { write: (text) => void err.push(text) },
  });
  return { code, out: out.join(''), err: err.join('') };
}
const relay = ['--relay-url', 'https://relay.example'];

describe('glasscast flash', () => {
  it('has help that says where secrets go', async () => {
    const { code, out } = await run(['--help']);
    expect(code).toBe(0);
    for (const word of ['--ssh', '--dry-run', '--undo', 'GLASSCAST_ENROLMENT_CODE', 'Examples:'])
      expect(out).toContain(word);
  });

  it.each<[string, string[], number, string]>([
    ['no board', relay, 1, 'which board? Give --ssh'],
    ['a board that is an option', ['--ssh', '-oProxyCommand=x', ...relay], 1, 'expected user@board'],
    ['a relay on this machine', ['--ssh', 'ada@board'], 1, 'is this machine only to itself'],
    ['an unknown setting', ['--ssh', 'ada@board', ...relay, '--set', 'noSuch=1'], 1, 'the agent has no setting noSuch'],
    ['a secret setting', ['--ssh', 'ada@board', ...relay, '--set', 'enrolmentCode=AB'], 1, 'enrolmentCode is a secret'],
    [
      'a wrong source',
      ['--ssh', 'ada@board', ...relay, '--set', 'minBatteryPercent=x'],
      1,
      'GLASSCAST_AGENT_MIN_BATTERY_PERCENT',
    ],
    ['no e-mail address', ['--email', 'ada'], 2, 'Give an e-mail address'],
    ['a wrong port', ['--port', 'x'], 2, 'Give a whole number'],
  ])('refuses %s', async (_, args, code, reason) => {
    const answer = await run(args);
    expect([answer.code, answer.err]).toEqual([code, expect.stringContaining(reason)]);
  });
});

it.each([
  ['https://relay.example', 'wss://relay.example/glasses-ws'],
  ['http://10.0.0.2:8787', 'ws://10.0.0.2:8787/glasses-ws'],
  ['https://example.com/relay', 'wss://example.com/relay/glasses-ws'],
])('glasses reach %s at %s', (url, expected) => {
  expect(agentUrlOf(url)).toBe(expected);
});

describe('teller', () => {
  function told(isTTY: boolean, isJson = false) {
    const out: string[] = [];
    const err: string[] = [];
    const terminal = createTerminal({
      ...{ isJson, noColor: true },
      output: { write: (text: string) => void out.push(text), isTTY },
      errors: { write: (text: string) => void err.push(text), isTTY },
    });
    const steps: object[] = [];
    const { step, progress } = teller(terminal, steps);
    for (const percent of [0, 1, 30, 31, 100]) progress('Upload', `${percent} MB`, percent);
    step('Upload', 'ok', '100 MB, verified');
    step('Install', 'would', 'keep nothing');
    return { out: out.join(''), err: err.join(''), steps };
  }

  it('shows a percentage on a terminal and takes it away again', () => {
    const { out, err } = told(true);
    expect(err.endsWith('\r\u001b[K')).toBe(true);
    expect(err).toContain('31 % 31 MB');
    expect(out).toBe('✓ Upload          100 MB, verified\n– Install         would keep nothing\n');
  });

  it('writes few plain lines elsewhere', () => {
    expect(
      told(false)
        .err.split('\n')
        .map((line) => line.replace(/ +/g, ' ')),
    ).toEqual(['… Upload 0 %, 0 MB', '… Upload 30 %, 30 MB', '… Upload 100 %, 100 MB', '']);
  });

  it('leaves JSON alone', () => {
    const { out, err, steps } = told(false, true);
    expect([out, err, steps.length]).toEqual(['', '', 2]);
  });
});
