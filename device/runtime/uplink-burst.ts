/**
 * The doctor's measurement of the uplink: sends the relay what cannot be compressed for three seconds and goes by what the
 * relay says it has read. The way to the ingest may be another one; what it carries is known only while a stream runs.
 */
import { randomBytes } from 'node:crypto';
import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Clock } from '../../shared/clock.ts';
import { errorText } from '../../shared/errors.ts';
import {
  MAX_UPLINK_PROBE_BYTES,
  UPLINK_PROBE_PATH,
  type UplinkProbeAnswer,
  uplinkProbeAnswer,
} from '../../shared/protocol/uplink-probe.ts';
import type { Secret } from '../../shared/secrets.ts';
import { defaultEncoderSettings } from '../../shared/stream.ts';
import { bad, type Finding, ok, unknown } from './doctor.ts';

export interface UplinkBurstOptions {
  /** ws(s)://host:port/glasses-ws; uplinks are measured beside it. */
  relayUrl: string;
  token: Secret;
  clock: Clock;
}

const BURST_MS = 3_000;
const PIECE_BYTES = 16 * 1024;
/** The relay answers after 5 s; a proxy that keeps the body until it is whole needs longer. */
const PATIENCE_MS = 15_000;
const MAX_ANSWER_BYTES = 4_096;
/** Room for the protocol's own bytes, and for an uplink that is not always as good. */
const HEADROOM = 1.3;

const NEEDED_BPS = defaultEncoderSettings.videoBitrateBps + defaultEncoderSettings.audioBitrateBps;

const IN_A_STREAM =
  'start a stream and look at "measured" and "Backlog" in glasscast-agent status: a backlog that grows means too little';
const TOO_NARROW =
  'find a better network or place; else the picture gets smaller by itself, or let the app ask for a lower video.bitrate';
const PROXY =
  'if a proxy is before the relay, let it take bodies of 8 MB and hand them on as they come (cloud/OPERATIONS.md)';

/** Never rejects: what hinders it is no fault of the uplink, so the finding is `unknown` then. */
export async function measureUplink(options: UplinkBurstOptions): Promise<Finding> {
  try {
    // An empty one first: whoever refuses a body in the middle of it may be heard or not.
    const { status } = await probe(options, 0);
    if (status !== 200) return refusal(status);
    const burst = await probe(options, BURST_MS);
    if (burst.status === 408) return bad('the relay got nothing of a burst within 5 s', TOO_NARROW);
    if (burst.status !== 200) return refusal(burst.status);
    const answer = answerIn(burst.text);
    return answer
      ? verdict(answer, burst.ms)
      : unknown('not measured: the relay does not tell what it has read', PROXY);
  } catch (error) {
    return unknown(`not measured: ${errorText(error)}`, PROXY);
  }
}

/** @param ourMs from the first byte to the answer: a proxy that keeps the body hands it on in no time. */
function verdict({ bytes, ms }: UplinkProbeAnswer, ourMs: number): Finding {
  const spanMs = Math.max(ms, ourMs, 1);
  const bps = (bytes * 8_000) / spanMs;
  const seconds = Number((spanMs / 1000).toFixed(spanMs < 1000 ? 2 : 1));
  const text = `${mbit(bps)} Mbit/s in a burst of ${seconds} s; the default stream needs ${mbit(NEEDED_BPS)}`;
  if (bps >= NEEDED_BPS * HEADROOM) return ok(text);
  return bad(bps < NEEDED_BPS ? text : `${text}, and 30 % more in reserve`, TOO_NARROW);
}

function refusal(status: number): Finding {
  if (status === 401 || status === 403) return unknown(`not measured: the relay refuses the core token (${status})`);
  if (status === 404) return unknown('not measured: this relay is older and cannot do it', IN_A_STREAM);
  if (status === 413) return unknown('not measured: a body of 8 MB is refused (413)', PROXY);
  if (status === 429) return unknown('not measured: too often, or by two at once (429)', 'try again in a minute');
  return unknown(`not measured: the relay answers ${status}`, IN_A_STREAM);
}

interface Answer {
  status: number;
  text: string;
  /** Since the first byte could go. */
  ms: number;
}

function probe({ relayUrl, token, clock }: UplinkBurstOptions, burstMs: number): Promise<Answer> {
  const url = new URL(relayUrl.replace(/^ws/, 'http'));
  url.search = '';
  url.pathname = url.pathname.replace(/\/[^/]*$/, UPLINK_PROBE_PATH);
  const isTls = url.protocol === 'https:';
  return new Promise((resolve, reject) => {
    const asking = (isTls ? httpsRequest : httpRequest)(url, {
      ...{ method: 'POST', agent: false },
      headers: {
        authorization: `Bearer ${token.reveal()}`,
        'content-type': 'application/octet-stream',
        ...(burstMs === 0 ? { 'content-length': 0 } : {}),
      },
    });
    const patience = clock.after('uplink-burst', PATIENCE_MS, () =>
      asking.destroy(new Error(`no answer within ${PATIENCE_MS / 1000} s`)),
    );
    const fail = (error: Error) => {
      patience.cancel();
      reject(error);
    };
    let sinceMs = clock.monotonicMs();
    asking.once('response', (response) => {
      const ms = clock.monotonicMs() - sinceMs;
      const read = (text: string) => {
        patience.cancel();
        // What of the burst has not gone is of no use any more.
        asking.destroy();
        resolve({ status: response.statusCode ?? 0, text, ms });
      };
      textOf(response).then(read, fail);
    });
    asking.on('error', fail);
    asking.once('close', () => fail(new Error('the connection ended without an answer')));
    if (burstMs === 0) {
      asking.end();
      return;
    }
    asking.once('socket', (socket) =>
      socket.once(isTls ? 'secureConnect' : 'connect', () => {
        sinceMs = clock.monotonicMs();
        sendPieces(asking, clock, burstMs);
      }),
    );
  });
}

/** One piece after the other, as fast as the connection takes them. */
function sendPieces(asking: ClientRequest, clock: Clock, burstMs: number): void {
  const sinceMs = clock.monotonicMs();
  let leftBytes = MAX_UPLINK_PROBE_BYTES;
  const next = (error?: Error | null) => {
    if (error || asking.destroyed) return;
    if (leftBytes < PIECE_BYTES || clock.monotonicMs() - sinceMs >= burstMs) {
      asking.end();
      return;
    }
    leftBytes -= PIECE_BYTES;
    // New each time: VPNs compress what they have seen before.
    asking.write(randomBytes(PIECE_BYTES), next);
  };
  next();
}

/** Errors: the connection's; an answer that is too long to be a relay's. */
async function textOf(response: IncomingMessage): Promise<string> {
  let text = '';
  for await (const piece of response.setEncoding('utf8')) {
    text += piece;
    if (text.length > MAX_ANSWER_BYTES) throw new Error('the answer is not one of a relay');
  }
  return text;
}

function answerIn(text: string): UplinkProbeAnswer | undefined {
  try {
    return uplinkProbeAnswer.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

function mbit(bps: number): string {
  const millions = bps / 1e6;
  return millions.toFixed(millions < 1 ? 2 : millions < 100 ? 1 : 0);
}
