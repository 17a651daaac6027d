/**
 * Why a connection could not be made, or ended, in plain words and as one of our errors. `details.errno` tells the causes
 * apart that share a code. Pure. Codes: Node's documentation (errors, dns, tls) and OpenSSL's X509_V_ERR names.
 */
import { GlasscastError, isGlasscastError } from '../errors.ts';
import type { PublishUrl } from './publish-url.ts';

const words: Readonly<Record<string, string>> = {
  ENOTFOUND: 'its host name is not known',
  EAI_AGAIN: 'the name server does not answer',
  ECONNREFUSED: 'nothing listens there',
  ENETUNREACH: 'this machine has no network that leads there',
  EHOSTUNREACH: 'there is no way to that host',
  EADDRNOTAVAIL: 'this machine has no address to connect from',
  ENETDOWN: 'the network of this machine is down',
  ETIMEDOUT: 'no answer in time',
  ECONNRESET: 'it reset the connection',
  EPIPE: 'it closed the connection while we were sending',
  CERT_HAS_EXPIRED: 'its certificate has expired, or the clock of this machine is wrong',
  CERT_NOT_YET_VALID: 'its certificate is not valid yet, or the clock of this machine is wrong',
  CERT_REVOKED: 'its certificate was revoked',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another name',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is signed by itself, not by an authority that is trusted here',
  SELF_SIGNED_CERT_IN_CHAIN: 'its certificate comes from an authority that is not trusted here',
  UNABLE_TO_GET_ISSUER_CERT: 'its certificate comes from an authority that is not known here',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its certificate comes from an authority that is not known here',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'it does not send the certificates that lead to an authority known here',
  ERR_SSL_WRONG_VERSION_NUMBER: 'it does not speak TLS on this port; perhaps rtmp:// was meant',
  ERR_SSL_PACKET_LENGTH_TOO_LONG: 'it does not speak TLS on this port; perhaps rtmp:// was meant',
};

const TLS_CODES = /CERT|SELF_SIGNED|UNABLE_TO|^ERR_(TLS|SSL)|^EPROTO$/;

/** Why it could not be made. One of ours stays as it is. */
export function connectError(error: Error, url: PublishUrl, isTcpConnected: boolean): GlasscastError {
  if (isGlasscastError(error)) return error;
  const errno = errnoOf(error);
  const cause = { reason: reasonOf(error, url), cause: error, details: { errno, url: url.printable } };
  if (!isTcpConnected) return new GlasscastError('INGEST_UNREACHABLE', cause);
  return new GlasscastError(errno && TLS_CODES.test(errno) ? 'INGEST_TLS_FAILED' : 'INGEST_DROPPED', cause);
}

/** The connection was not there, or TLS not agreed on, in so many ms. */
export function connectTimeout(url: PublishUrl, timeoutMs: number, isTcpConnected: boolean): GlasscastError {
  const details = { errno: 'ETIMEDOUT', url: url.printable };
  const step = isTcpConnected ? 'no answer to TLS' : 'no answer';
  const reason = `${step} in ${timeoutMs} ms from ${url.printable}`;
  return new GlasscastError(isTcpConnected ? 'INGEST_SILENT' : 'INGEST_UNREACHABLE', { reason, details });
}

/** Why an established connection ended. */
export function dropError(url: PublishUrl, error?: Error): GlasscastError {
  const reason = error ? reasonOf(error, url) : url.printable;
  const details = { errno: error && errnoOf(error), url: url.printable };
  return new GlasscastError('INGEST_DROPPED', { reason, cause: error, details });
}

function reasonOf(error: Error, url: PublishUrl): string {
  const errno = errnoOf(error);
  const said = errno && words[errno];
  return said ? `${said} (${errno}), ${url.printable}` : `${errno ?? error.message} at ${url.printable}`;
}

/** ECONNREFUSED and the like; of several addresses tried, the last one's. */
function errnoOf(error: Error): string | undefined {
  if (error instanceof AggregateError) {
    const last: unknown = error.errors.at(-1);
    if (last instanceof Error) return errnoOf(last);
  }
  return 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}
