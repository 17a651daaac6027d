import { inspect } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createLog } from '../../shared/log.ts';
import { createRedactor, redactUrl, Secret } from '../../shared/secrets.ts';

describe('Secret', () => {
  it('prints as *** however it is printed', () => {
    const secret = new Secret('hunter22');
    expect(`${secret} ${JSON.stringify({ secret })} ${inspect(secret)} ${inspect({ deep: [secret] })}`).not.toContain(
      'hunter22',
    );
    expect(secret.reveal()).toBe('hunter22');
  });
});

describe('redactUrl', () => {
  it.each([
    ['rtmp://127.0.0.1:1935/live/abc123', 'rtmp://127.0.0.1:1935/live/***'],
    ['rtmps://user:pw@live.example:443/live/abc?sig=1', 'rtmps://live.example:443/live/***'],
    ['https://host/app?token=1', 'https://host/app/***'],
    ['nonsense', '***'],
  ])('%s → %s', (url, printable) => {
    expect(redactUrl(url)).toBe(printable);
  });

  it('never lets a stream key through', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[a-z0-9]{16,64}$/), (key) => {
        expect(redactUrl(`rtmp://host/live/${key}`)).not.toContain(key);
      }),
    );
  });
});

describe('redactor', () => {
  it('masks known secrets, publish URLs and user info in any text', () => {
    const redactor = createRedactor();
    redactor.add(new Secret('s3cr3tkey'));
    const text = "x s3cr3tkey y Error opening 'rtmp://h/live/other' http://u:p@h/x";
    expect(redactor.redact(text)).toBe("x *** y Error opening 'rtmp://h/live/***' http://***@h/x");
    redactor.forget('s3cr3tkey');
    expect(redactor.redact('s3cr3tkey')).toBe('s3cr3tkey');
  });

  it('masks one of thousands, also where one begins another, until it is forgotten', () => {
    const redactor = createRedactor();
    const keys = Array.from({ length: 3_000 }, (_, index) => `streamkey${index}`);
    for (const key of keys) redactor.add(key);
    redactor.add('streamkey7');
    expect(redactor.redact('a streamkey2999, streamkey29 and streamkey7')).toBe('a ***, *** and ***');
    redactor.forget('streamkey7');
    redactor.forget('streamkey29');
    expect(redactor.redact('streamkey7 xstreamkey290x streamkey29')).toBe('*** x***x ***9');
    for (const key of keys) redactor.forget(key);
    expect(redactor.redact('streamkey7')).toBe('streamkey7');
  });

  it('masks those that are known, and no others, however often each came and went', () => {
    const value = fc.stringMatching(/^(key|clue)[ab]{3,5}$/);
    const step = fc.record({ value, isForgotten: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.array(value, { maxLength: 5 }), (steps, said) => {
        const redactor = createRedactor();
        // So many that not each is looked for.
        for (let other = 0; other < 60; other += 1) redactor.add(`unsaid${other}`);
        const uses = new Map<string, number>();
        for (const { value: one, isForgotten } of steps) {
          if (isForgotten) redactor.forget(one);
          else redactor.add(one);
          uses.set(one, Math.max(0, (uses.get(one) ?? 0) + (isForgotten ? -1 : 1)));
        }
        const known = [...uses].filter(([, count]) => count > 0).map(([one]) => one);
        known.sort((one, other) => other.length - one.length);
        const plain = known.reduce((text, one) => text.replaceAll(one, '***'), said.join(' '));
        expect(redactor.redact(said.join(' '))).toBe(plain);
      }),
    );
  });

  it('stands between every log line and its sink', () => {
    const lines: string[] = [];
    const redactor = createRedactor();
    redactor.add('topsecret');
    const log = createLog({
      program: 'test',
      level: 'debug',
      redactor,
      destination: { write: (line) => lines.push(line) },
    });
    log.child({ key: new Secret('topsecret') }).info({ url: 'rtmp://h/live/abcdef', text: 'is topsecret' }, 'event');
    expect(lines).toHaveLength(1);
    expect(lines[0]).not.toMatch(/topsecret|abcdef/);
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ program: 'test', msg: 'event', url: 'rtmp://h/live/***' });
  });
});
