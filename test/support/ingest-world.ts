/** A listening ingest with a host that writes down what it is told; keys are `key-X` to publish input X, `watch-X` to play it. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import {
  createIngest,
  type Ingest,
  type IngestHost,
  type IngestOptions,
} from '../../cloud/local-stream/ingest/ingest.ts';
import type { MediaRefusal } from '../../cloud/local-stream/ingest/media.ts';
import type { Clock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import type { FlvTag } from '../../shared/rtmp/flv.ts';
import { temporaryFolder } from './local-stream-world.ts';
import { connectRtmp, media, type RtmpTestPeer } from './rtmp-peer.ts';
import { testCertificate, testCertificateKey } from './test-certificate.ts';

export type Protocol = 'rtmp' | 'rtmps';

/** For `options.tls`: the test certificate in files that are gone when the test is finished. */
export function testTls(): { host: string; port: number; certFile: string; keyFile: string } {
  const folder = temporaryFolder();
  const [certFile, keyFile] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
  writeFileSync(certFile, testCertificate);
  writeFileSync(keyFile, testCertificateKey);
  return { host: '127.0.0.1', port: 0, certFile, keyFile };
}

export interface IngestWorld {
  ingest: Ingest;
  port: number;
  /** With `options.tls`. */
  tlsPort: number | undefined;
  /** `published X`, `unpublished X reason`, in order. */
  events: string[];
  tags: { inputUid: string; publicationId: string; tag: FlvTag }[];
  refusals: MediaRefusal[];
  /** Told of each tag as the host is. */
  onTag: ((inputUid: string, publicationId: string, tag: FlvTag) => void) | undefined;
  /** Everything logged. */
  lines: string[];
  /** @param how `rtmps`: on the TLS port, its certificate checked. Default: `rtmp`. */
  peer(how?: Protocol): Promise<RtmpTestPeer>;
  /** Publishing, metadata and both sequence headers sent. */
  publisher(key: string, how?: Protocol): Promise<RtmpTestPeer>;
  player(key: string, how?: Protocol): Promise<RtmpTestPeer>;
  /** Resolves when the host has been told this (so often). */
  event(text: string, times?: number): Promise<void>;
  /** Resolves when a tag that fits has arrived at the host. */
  tag(fits: (tag: FlvTag) => boolean): Promise<FlvTag>;
}

/** Closed when the test is finished. */
export async function createIngestWorld(clock: Clock, options: Partial<IngestOptions> = {}): Promise<IngestWorld> {
  const events: string[] = [];
  const tags: IngestWorld['tags'] = [];
  const lines: string[] = [];
  const refusals: MediaRefusal[] = [];
  const waiting = new Set<() => void>();
  const changed = () => {
    for (const check of [...waiting]) check();
  };
  const inputOf = (key: string, prefix: string) =>
    key.startsWith(prefix) ? { inputUid: key.slice(prefix.length) } : { refused: 'bad key' };
  const host: IngestHost = {
    authorisePublish: (key) => inputOf(key, 'key-'),
    authorisePlay: (key) => inputOf(key, 'watch-'),
    published({ inputUid }) {
      events.push(`published ${inputUid}`);
      changed();
    },
    tag(inputUid, publicationId, tag) {
      tags.push({ inputUid, publicationId, tag });
      world.onTag?.(inputUid, publicationId, tag);
      changed();
    },
    refused({ inputUid }, refusal) {
      events.push(`refused ${inputUid} ${refusal.code}`);
      refusals.push(refusal);
    },
    unpublished({ inputUid }, reason) {
      events.push(`unpublished ${inputUid} ${reason}`);
      changed();
    },
  };
  const note = (fields: unknown, event: string) => void lines.push(`${event} ${JSON.stringify(fields)}`);
  const log = { ...silentLog(), debug: note, info: note, warn: note, error: note } as unknown as IngestOptions['log'];
  const ingest = createIngest({ host, clock, log, listen: { host: '127.0.0.1', port: 0 }, ...options });
  const { port, tlsPort } = await ingest.start();
  onTestFinished(() => ingest.close());

  /** Resolves with what `look` finds, now or after a later change. */
  function until<T>(look: () => T | undefined): Promise<T> {
    return new Promise((resolve) => {
      const check = () => {
        const found = look();
        if (found === undefined) return;
        waiting.delete(check);
        resolve(found);
      };
      waiting.add(check);
      check();
    });
  }
  const peer = async (how: Protocol = 'rtmp') => {
    const made = how === 'rtmp' ? await connectRtmp(port) : await connectRtmp(tlsPort ?? 0, { ca: testCertificate });
    onTestFinished(() => made.close());
    return made;
  };
  const world: IngestWorld = {
    ingest,
    onTag: undefined,
    ...{ port, tlsPort, events, tags, refusals, lines },
    peer,
    async publisher(key, how) {
      const made = await peer(how);
      await made.open();
      expect(await made.publish(key)).toBe('NetStream.Publish.Start');
      for (const tag of [media.metadata(), media.audioHeader(), media.videoHeader()]) made.tag(tag);
      return made;
    },
    async player(key, how) {
      const made = await peer(how);
      await made.open();
      expect(await made.play(key)).toBe('NetStream.Play.Start');
      return made;
    },
    event: (text, times = 1) =>
      until(() => (events.filter((event) => event === text).length >= times ? true : undefined)).then(() => undefined),
    tag: (fits) => until(() => tags.find(({ tag }) => fits(tag))?.tag),
  };
  return world;
}
