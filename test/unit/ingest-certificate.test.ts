/** The certificate files of RTMPS: what is wrong with them is said in words, and a renewed one is taken without a restart. */
import { generateKeyPairSync } from 'node:crypto';
import { rmSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { watchCertificate } from '../../cloud/local-stream/ingest/certificate.ts';
import { silentLog } from '../../shared/log.ts';
import { testTls } from '../support/ingest-world.ts';
import { testCertificate } from '../support/test-certificate.ts';
import { createTestClock } from '../support/test-clock.ts';

const otherKey = () =>
  generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
const NOW_MS = Date.UTC(2027, 0, 1);
const CENTURIES_MS = 200 * 365 * 86_400_000;

describe('certificate files', () => {
  it.each([
    ['cert', undefined, /the certificate .*cert\.pem cannot be read \(ENOENT\)/],
    ['key', undefined, /the key .*key\.pem cannot be read \(ENOENT\)/],
    ['cert', 'nonsense', /cert\.pem is no PEM certificate/],
    ['key', 'nonsense', /key\.pem is no PEM private key/],
    ['key', otherKey(), /the key .*key\.pem does not belong to the certificate .*cert\.pem/],
  ])('with a bad %s are refused in words: %#', (which, text, words) => {
    const files = testTls();
    const file = which === 'cert' ? files.certFile : files.keyFile;
    if (text === undefined) rmSync(file);
    else writeFileSync(file, text);
    const watch = () => watchCertificate({ ...files, clock: createTestClock(NOW_MS), log: silentLog() });
    expect(watch).toThrow(words);
    expect(watch).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' }));
    if (text && text !== 'nonsense') expect(watch).not.toThrow(new RegExp(text.split('\n')[1] ?? '-'));
  });

  it('that have ended are refused', () => {
    const clock = createTestClock(NOW_MS + CENTURIES_MS);
    expect(() => watchCertificate({ ...testTls(), clock, log: silentLog() })).toThrow(/ended on/);
  });

  it('are read again when they have changed, at most each ten seconds; what cannot be used changes nothing', async () => {
    const clock = createTestClock(NOW_MS);
    const files = testTls();
    const watched = watchCertificate({ ...files, clock, log: silentLog() });
    await clock.advance(10_000);
    expect(watched.renewed()).toBeUndefined();
    writeFileSync(files.keyFile, otherKey());
    await clock.advance(9_999);
    expect(watched.renewed()).toBeUndefined();
    await clock.advance(1);
    expect(watched.renewed()).toBeUndefined();
    expect(watched.current.cert).toBe(testCertificate);
    writeFileSync(files.certFile, `${testCertificate}\n`);
    writeFileSync(files.keyFile, watched.current.key);
    await clock.advance(10_000);
    expect(watched.renewed()).toEqual({ cert: `${testCertificate}\n`, key: watched.current.key });
  });
});
