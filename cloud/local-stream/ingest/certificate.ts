/**
 * The certificate of the RTMPS listener: two PEM files, read at the start and again when they have changed, so that a renewed
 * certificate needs no restart. Never logs what is in them.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import type { Clock } from '../../../shared/clock.ts';
import { errorText, GlasscastError } from '../../../shared/errors.ts';
import type { Log } from '../../../shared/log.ts';

/** Paths of PEM files: the certificate with its chain, and its key without a pass phrase. */
export interface CertificateFiles {
  certFile: string;
  keyFile: string;
}

export interface Certificate {
  cert: string;
  key: string;
}

export interface WatchedCertificate {
  readonly current: Certificate;
  /**
   * The new one if the files have changed since the last look, which is at most one each ten seconds. What cannot be used is said
   * in the log, and the one before stays.
   */
  renewed(): Certificate | undefined;
}

const LOOK_EACH_MS = 10_000;

/** @throws GlasscastError INVALID_CONFIG which file is missing, unreadable, no PEM, expired or does not fit */
export function watchCertificate(options: CertificateFiles & { clock: Clock; log: Log }): WatchedCertificate {
  const { clock, log } = options;
  let seen = stampOf(options);
  let lookedMs = clock.monotonicMs();
  let current = readCertificate(options, clock.now());

  return {
    get current() {
      return current;
    },
    renewed() {
      if (clock.monotonicMs() - lookedMs < LOOK_EACH_MS) return undefined;
      lookedMs = clock.monotonicMs();
      const stamp = stampOf(options);
      if (stamp === seen) return undefined;
      seen = stamp;
      try {
        current = readCertificate(options, clock.now());
      } catch (error) {
        log.error({ reason: errorText(error) }, 'ingest-certificate-not-renewed');
        return undefined;
      }
      log.info({ certFile: options.certFile }, 'ingest-certificate-renewed');
      return current;
    },
  };
}

/** @throws as `watchCertificate` */
function readCertificate({ certFile, keyFile }: CertificateFiles, nowMs: number): Certificate {
  const cert = textOf(certFile, 'certificate');
  const key = textOf(keyFile, 'key');
  const parsed = parsedOr(() => new X509Certificate(cert), `the certificate ${certFile} is no PEM certificate`);
  const privateKey = parsedOr(
    () => createPrivateKey(key),
    `the key ${keyFile} is no PEM private key, or has a pass phrase`,
  );
  if (!parsed.checkPrivateKey(privateKey))
    throw unfit(`the key ${keyFile} does not belong to the certificate ${certFile}`);
  if (Date.parse(parsed.validTo) < nowMs) throw unfit(`the certificate ${certFile} ended on ${parsed.validTo}`);
  return { cert, key };
}

function textOf(file: string, what: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw unfit(`the ${what} ${file} cannot be read (${code ?? errorText(error)})`, error);
  }
}

/** OpenSSL's own words say less than ours and could quote the file. */
function parsedOr<T>(parse: () => T, sentence: string): T {
  try {
    return parse();
  } catch {
    throw unfit(sentence);
  }
}

function unfit(reason: string, cause?: unknown): GlasscastError {
  return new GlasscastError('INVALID_CONFIG', { reason: `RTMPS: ${reason}`, cause });
}

/** Changes when one of the files does. Links are followed: renewals often swap them. */
function stampOf({ certFile, keyFile }: CertificateFiles): string {
  return [certFile, keyFile]
    .map((file) => {
      const found = statSync(file, { throwIfNoEntry: false });
      return found ? `${found.ino}:${found.mtimeMs}:${found.size}` : 'none';
    })
    .join();
}
