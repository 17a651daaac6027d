import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import * as z from 'zod';
import { createRelayApi } from '../../scripts/cli/relay-api.ts';
import { createTerminal, harmless } from '../../scripts/cli/terminal.ts';
import { createSystemClock } from '../../shared/clock.ts';

function terminal(options: { isTTY?: boolean; isJson?: boolean; noColor?: boolean } = {}) {
  const said = { output: '', errors: '' };
  const made = createTerminal({
    isJson: options.isJson ?? false,
    noColor: options.noColor ?? false,
    output: { isTTY: options.isTTY ?? false, write: (text) => (said.output += text) },
    errors: { write: (text) => (said.errors += text) },
  });
  return { ...made, said };
}

describe('the terminal', () => {
  it('lays out a table, and says so when it is empty', () => {
    const { table } = terminal();
    expect(table(['A', 'LONG HEAD', 'C'], [['wide cell', '', 'x'], ['b']], 'nothing')).toEqual([
      'A          LONG HEAD  C',
      'wide cell             x',
      'b',
    ]);
    expect(table(['A'], [], 'nothing')).toEqual(['nothing']);
  });

  it('colours for people at a terminal only', () => {
    const coloured = terminal({ isTTY: true });
    expect(coloured.style('green', 'active')).toBe('\u001b[32mactive\u001b[39m');
    expect(coloured.table(['A', 'B'], [[coloured.style('red', 'x'), 'y']], '')[1]).toMatch(/^\S+x\S+ {2}y$/);
    for (const options of [{}, { isTTY: true, noColor: true }, { isTTY: true, isJson: true }]) {
      expect(terminal(options).style('green', 'active')).toBe('active');
    }
  });

  it('gives machines JSON and nothing else', () => {
    const { said, ...json } = terminal({ isJson: true });
    json.result({ a: 1 }, ['for people']);
    json.note('for people');
    expect([JSON.parse(said.output), said.errors]).toEqual([{ a: 1 }, '']);
    const people = terminal();
    people.result({ a: 1 }, ['one', 'two']);
    people.note('aside');
    expect(people.said).toEqual({ output: 'one\ntwo\n', errors: 'aside\n' });
  });

  it('lets nobody else’s text command it', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what is looked for
        expect(harmless(`${text}\u001b[2J`)).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/);
      }),
    );
    expect(harmless(undefined)).toBe('');
  });
});

describe('the relay’s REST', () => {
  let server: Server | undefined;
  afterEach(() => {
    server?.closeAllConnections();
    server?.close();
  });
  async function api(answer: (response: ServerResponse) => void, adminToken: string | undefined = 'the-admin-token') {
    const listening = createServer((request, response) => {
      expect(request.headers.authorization).toBe(`Bearer ${adminToken}`);
      answer(response);
    }).listen(0, '127.0.0.1');
    server = listening;
    await new Promise((resolve) => listening.once('listening', resolve));
    const baseUrl = `http://127.0.0.1:${(listening.address() as AddressInfo).port}`;
    return createRelayApi({ baseUrl, adminToken, clock: createSystemClock() });
  }
  const listOf = async (answer: (response: ServerResponse) => void, adminToken?: string) =>
    (await api(answer, adminToken)).ask('GET', '/api/streams', z.object({ streams: z.array(z.string()) }));

  it.each<[string, string, number, string]>([
    ['in the relay’s words', '{"error":"STREAM_NOT_FOUND","message":"No such stream"}', 404, 'No such stream'],
    [
      'once, with its reason',
      '{"error":"MALFORMED_MESSAGE","message":"The message is not valid; see the named field: x"}',
      400,
      'The message is not valid; see the named field: x',
    ],
    ['of a code we do not know', '{"error":"NEW_ONE","message":"Too new"}', 400, 'Too new'],
    ['of something that is no relay', '<html>', 418, 'the relay answered 418'],
    ['of a proxy that does not reach it', '<html>', 502, 'The relay cannot be reached: a proxy answers 502 for it'],
    ['hidden in a success', '<html>', 200, 'does not answer as a relay does'],
    ['hidden in another answer', '{"streams":1}', 200, 'the answer to GET /api/streams is not a relay’s'],
  ])('tells a refusal %s', async (_, body, status, message) => {
    const asked = listOf((response) => response.writeHead(status).end(body));
    await expect(asked).rejects.toThrow(message.replace('’', "'"));
    await expect(asked).rejects.not.toThrow(/(.{12,}).*\1/);
  });

  it('says what hides behind a failed fetch, and asks nothing without a token', async () => {
    const closed = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => closed.once('listening', resolve));
    const { port } = closed.address() as AddressInfo;
    await new Promise((resolve) => closed.close(resolve));
    const nobody = createRelayApi({ baseUrl: `http://127.0.0.1:${port}`, adminToken: 'x', clock: createSystemClock() });
    const unreachable = { code: 'RELAY_UNREACHABLE', message: expect.stringContaining('ECONNREFUSED') };
    await expect(nobody.ask('GET', '/', z.unknown())).rejects.toMatchObject(unreachable);
    const without = createRelayApi({
      baseUrl: 'http://127.0.0.1:9',
      adminToken: undefined,
      clock: createSystemClock(),
    });
    await expect(without.ask('GET', '/', z.unknown())).rejects.toMatchObject({ code: 'ADMIN_TOKEN_REQUIRED' });
  });

  it('reads events however they are cut, until they end or are not wanted any more', async () => {
    const events = [{ type: 'stream', name: 'ä' }, { type: 'session' }, { n: 3 }];
    const bytes = Buffer.from(`: listening\n\n${events.map((each) => `data: ${JSON.stringify(each)}\n\n`).join('')}`);
    const { events: open } = await api((response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      for (const byte of bytes) response.write(Buffer.from([byte]));
      response.end();
    });
    const seen: unknown[] = [];
    for await (const event of await open(new AbortController().signal)) seen.push(event);
    expect(seen).toEqual(events);

    const endless = await api((response) => response.writeHead(200).write('data: 1\n\n'));
    const stop = new AbortController();
    for await (const _ of await endless.events(stop.signal)) stop.abort();
  });
});
