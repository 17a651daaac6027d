import { describe, expect, it } from 'vitest';
import { GlasscastError } from '../../shared/errors.ts';
import { connectError, connectTimeout, dropError } from '../../shared/rtmp/connection-causes.ts';
import { parsePublishUrl } from '../../shared/rtmp/publish-url.ts';

const url = parsePublishUrl('rtmps://ingest.example/live/the-stream-key');
const coded = (code: string) => Object.assign(new Error(`${code} the-stream-key`), { code });

describe('why a connection failed', () => {
  it.each([
    ['ENOTFOUND', /host name is not known/],
    ['EAI_AGAIN', /name server/],
    ['ECONNREFUSED', /nothing listens/],
    ['ENETUNREACH', /no network/],
    ['EHOSTUNREACH', /no way to that host/],
    ['EWHATEVER', /EWHATEVER at rtmps/],
  ])('before TCP: %s', (errno, words) => {
    const error = connectError(coded(errno), url, false);
    expect(error).toMatchObject({ code: 'INGEST_UNREACHABLE', details: { errno } });
    expect(error.message).toMatch(words);
    expect(error.message).not.toContain('the-stream-key');
  });
  it.each([
    ['CERT_HAS_EXPIRED', /expired/],
    ['CERT_NOT_YET_VALID', /clock/],
    ['ERR_TLS_CERT_ALTNAME_INVALID', /another name/],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', /signed by itself/],
    ['SELF_SIGNED_CERT_IN_CHAIN', /authority that is not trusted/],
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', /certificates that lead to/],
    ['ERR_SSL_WRONG_VERSION_NUMBER', /does not speak TLS/],
    ['ERR_SSL_SOMETHING_NEW', /ERR_SSL_SOMETHING_NEW/],
  ])('in TLS: %s', (errno, words) => {
    const error = connectError(coded(errno), url, true);
    expect(error).toMatchObject({ code: 'INGEST_TLS_FAILED', details: { errno } });
    expect(error.message).toMatch(words);
  });
  it('in TLS, but the connection broke', () => {
    expect(connectError(coded('ECONNRESET'), url, true)).toMatchObject({ code: 'INGEST_DROPPED' });
  });
  it('of several addresses the last counts; one of ours stays', () => {
    const many = new AggregateError([coded('ENETUNREACH'), coded('ECONNREFUSED')]);
    expect(connectError(many, url, false).details.errno).toBe('ECONNREFUSED');
    const ours = new GlasscastError('DESTINATION_FORBIDDEN');
    expect(connectError(ours, url, false)).toBe(ours);
  });
  it('no answer in time, and a drop', () => {
    expect(connectTimeout(url, 5000, false)).toMatchObject({
      code: 'INGEST_UNREACHABLE',
      details: { errno: 'ETIMEDOUT' },
    });
    expect(connectTimeout(url, 5000, true)).toMatchObject({ code: 'INGEST_SILENT' });
    expect(dropError(url, coded('ECONNRESET')).message).toMatch(/it reset the connection \(ECONNRESET\), rtmps:/);
    expect(dropError(url)).toMatchObject({ code: 'INGEST_DROPPED', details: { errno: undefined } });
  });
});
