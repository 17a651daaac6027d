/**
 * Publishes as OBS Studio does, command for command: its librtmp announces a chunk size of 4096 and asks for everything that Flash
 * Media Encoder asked for. From the public documentation and captures of its protocol; no code of it.
 */
import { AmfEcmaArray, decodeAmf0, encodeAmf0 } from '../../shared/rtmp/amf0.ts';
import type { FlvTag } from '../../shared/rtmp/flv.ts';
import { chunked, connectRtmp, media, type RtmpTestPeer } from './rtmp-peer.ts';

const CHUNK_BYTES = 4096;
const COMMAND = 20;
const DATA = 18;
const TYPES = { audio: 8, video: 9, script: DATA } as const;

/** All of its fields, as version 30 writes them. */
const metadata = new AmfEcmaArray({
  ...{ duration: 0, fileSize: 0, width: 1280, height: 720, videocodecid: 7, videodatarate: 2500, framerate: 30 },
  ...{ audiocodecid: 10, audiodatarate: 160, audiosamplerate: 48_000, audiosamplesize: 16, audiochannels: 2 },
  ...{ stereo: true, '2.1': false, '3.1': false, '4.0': false, '4.1': false, '5.1': false, '7.1': false },
  encoder: 'obs-output module (libobs version 30.0.2)',
});

export interface ObsPeer {
  peer: RtmpTestPeer;
  /** The code of the answer to publish. */
  code: string;
  tag(tag: FlvTag): void;
  /** As the button "Stop Streaming" does. */
  stop(): void;
}

/** @param server the field "Server", @param key the field "Stream Key"; `host:port` of the first is not looked at. */
export async function publishAsObs(port: number, server: string, key: string): Promise<ObsPeer> {
  const peer = await connectRtmp(port);
  const path = new URL(server.replace(/^rtmps?/, 'http')).pathname;
  // librtmp: what stands before the last slash is the application, unless there is only one part.
  const app = path.replace(/^\//, '');
  const say = (type: number, body: Buffer, options: { timestampMs?: number; chunkStream?: number; stream?: number }) =>
    peer.raw(chunked(type, body, { ...options, chunkBytes: CHUNK_BYTES }));
  const command = (stream: number, ...values: Parameters<typeof encodeAmf0>) =>
    say(COMMAND, encodeAmf0(...values), { stream });
  const answered = (transaction: number) =>
    peer.wait(({ type, body }) => {
      if (type !== COMMAND) return false;
      const [name, id] = decodeAmf0(body);
      return (name === '_result' || name === '_error') && id === transaction;
    });

  await peer.handshake();
  const size = Buffer.alloc(4);
  size.writeUInt32BE(CHUNK_BYTES);
  peer.raw(chunked(1, size, { chunkStream: 2 }));
  const flashVer = 'FMLE/3.0 (compatible; FMSc/1.0)';
  command(0, 'connect', 1, { app, type: 'nonprivate', flashVer, swfUrl: server, tcUrl: server });
  await answered(1);
  command(0, 'releaseStream', 2, null, key);
  command(0, 'FCPublish', 3, null, key);
  command(0, 'createStream', 4, null);
  await answered(4);
  command(1, 'publish', 5, null, key, 'live');
  const code = await peer.status('NetStream.');

  const tag = ({ kind, timestampMs, body }: FlvTag) =>
    say(TYPES[kind], body, { timestampMs, chunkStream: 4, stream: 1 });
  if (code === 'NetStream.Publish.Start') {
    say(DATA, encodeAmf0('@setDataFrame', 'onMetaData', metadata), { chunkStream: 4, stream: 1 });
    for (const header of [media.audioHeader(), media.videoHeader()]) tag(header);
  }
  return {
    ...{ peer, code, tag },
    stop() {
      command(0, 'FCUnpublish', 6, null, key);
      command(0, 'deleteStream', 7, null, 1);
    },
  };
}
