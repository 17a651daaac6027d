/**
 * The doctor's checks of the way to the relay: name, connection, certificate, token, clock. The token is shown in an upgrade
 * that cannot succeed (an unknown WebSocket version), so that a running agent's connection is not taken over.
 */
import { lookup } from 'node:dns/promises';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { connect, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { type Clock, withTimeout } from '../../shared/clock.ts';
import { errorText } from '../../shared/errors.ts';
import type { Secret } from '../../shared/secrets.ts';
import { bad, type Check, type Finding, ok, unknown } from './doctor.ts';
import { measureUplink } from './uplink-burst.ts';

export interface RelayChecksOptions {
  /** ws(s)://host:port/glasses-ws */
  relayUrl: string;
  /** As it is found when its turn comes. */
  coreToken: () => Promise<Secret | undefined>;
  clock: Clock;
}

const TIMEOUT_MS = 5_000;
/** Date headers have whole seconds. */
const MAX_CLOCK_ERROR_MS = 5_000;
/** No token of anybody: JWTs have dots. */
const NO_TOKEN = 'glasscast-doctor';

export function relayChecks({ relayUrl, coreToken, clock }: RelayChecksOptions): Check[] {
  const url = new URL(relayUrl);
  const isTls = url.protocol === 'wss:';
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const port = Number(url.port) || (isTls ? 443 : 80);
  // What one finds the next ones need.
  let isNamed = true;
  let isReached = false;
  const whenReached = (look: () => Promise<Finding>) => async () =>
    isReached ? look() : unknown('not tried, because the relay is not reached');

  async function lookUp(): Promise<Finding> {
    if (isIP(host)) return ok(`${host} is an address`);
    try {
      const found = await withTimeout(clock, 'doctor', TIMEOUT_MS, lookup(host, { all: true }), noAnswer);
      return ok(`${host} is ${found.map(({ address }) => address).join(', ')}`);
    } catch (error) {
      isNamed = false;
      return bad(`${host}: ${reasonOf(error)}`, 'check --relay-url, the network and its name server');
    }
  }
  async function reach(): Promise<Finding> {
    if (!isNamed) return unknown('not tried, because the name is not known');
    const sinceMs = clock.monotonicMs();
    try {
      await opened(clock, connect({ host, port }), { value: () => undefined });
      isReached = true;
      return ok(`${host}:${port} in ${Math.round(clock.monotonicMs() - sinceMs)} ms`);
    } catch (error) {
      return bad(`${host}:${port}: ${reasonOf(error)}`, 'see that the relay runs and that no firewall is between');
    }
  }
  async function trust(): Promise<Finding> {
    if (!isTls)
      return unknown('not encrypted (ws://)', isLocal(host) ? undefined : 'put TLS before the relay, use wss://');
    try {
      const socket = connectTls({ host, port, ...(isIP(host) ? {} : { servername: host }) });
      const value = () => socket.getPeerCertificate().valid_to;
      const until = await opened(clock, socket, { event: 'secureConnect', value });
      return ok(`certificate is trusted, until ${until}`);
    } catch (error) {
      isReached = false;
      return bad(
        reasonOf(error),
        'the certificate must be for this name and from a known authority; check the clock too',
      );
    }
  }
  async function admit(): Promise<Finding> {
    const token = await coreToken();
    if (!token) return unknown('not tried, because there is none');
    const [without, withOurs] = [await answerTo(NO_TOKEN), await answerTo(token.reveal())];
    if (withOurs === 401 || withOurs === 403) {
      return bad(`the relay refuses it (${withOurs})`, 'it is revoked, expired or of another relay: enrol again');
    }
    // The relay looks at the token first, then at what else is wrong with the request.
    if (without === 401 && [101, 400, 426].includes(withOurs)) return ok('the relay takes it');
    return bad(
      `answers ${without} and ${withOurs}: no relay at this path`,
      'check the path of --relay-url: /glasses-ws',
    );
  }
  async function answerTo(token: string): Promise<number> {
    const { statusCode = 0 } = await ask(url.pathname + url.search, {
      authorization: `Bearer ${token}`,
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-key': 'Z2xhc3NjYXN0LWRvY3Rvcg==',
      'sec-websocket-version': '1',
    });
    return statusCode;
  }
  function ask(path: string, headers: Record<string, string>): Promise<IncomingMessage> {
    const request = isTls ? httpsRequest : httpRequest;
    return new Promise((resolve, reject) => {
      const asking = request({ host, port, path, headers, agent: false });
      const patience = clock.after('doctor', TIMEOUT_MS, () => asking.destroy(noAnswer()));
      const answered = (answer: IncomingMessage) => {
        patience.cancel();
        // What follows is of no interest, nor how it ends.
        answer.socket.on('error', () => {});
        answer.socket.destroy();
        resolve(answer);
      };
      asking.on('response', answered);
      asking.on('upgrade', answered);
      asking.on('error', (error) => {
        patience.cancel();
        reject(error);
      });
      asking.end();
    });
  }
  async function compareClocks(): Promise<Finding> {
    const sentMs = clock.now();
    const answer = await ask('/healthz', {});
    const meanMs = (sentMs + clock.now()) / 2;
    const theirMs = Date.parse(answer.headers.date ?? '');
    if (Number.isNaN(theirMs)) return unknown('the relay does not tell its time');
    // It cut the fraction of the second off.
    const offMs = meanMs - (theirMs + 500);
    const text = `${(Math.abs(offMs) / 1000).toFixed(1)} s ${offMs < 0 ? 'behind' : 'ahead of'} the relay`;
    if (Math.abs(offMs) > MAX_CLOCK_ERROR_MS)
      return bad(text, 'set the clock: certificates and delays are judged by it');
    return ok('agrees with the relay');
  }
  async function burst(): Promise<Finding> {
    const token = await coreToken();
    return token ? measureUplink({ relayUrl, token, clock }) : unknown('not tried, because there is no core token');
  }

  return [
    { name: 'Relay: name', isNeeded: true, look: lookUp },
    { name: 'Relay: port', isNeeded: true, look: reach },
    { name: 'Relay: TLS', isNeeded: true, look: whenReached(trust) },
    { name: 'Relay: token', isNeeded: true, look: whenReached(admit) },
    { name: 'Clock', isNeeded: false, look: whenReached(compareClocks) },
    { name: 'Uplink', isNeeded: false, look: whenReached(burst) },
  ];
}

/** Settles when the connection stands; it is closed then, and also when it takes too long. */
function opened<Value>(
  clock: Clock,
  socket: Socket,
  { event = 'connect', value }: { event?: 'connect' | 'secureConnect'; value: () => Value },
): Promise<Value> {
  return new Promise((resolve, reject) => {
    const patience = clock.after('doctor', TIMEOUT_MS, () => socket.destroy(noAnswer()));
    socket.once(event, () => {
      patience.cancel();
      resolve(value());
      socket.destroy();
    });
    socket.on('error', (error) => {
      patience.cancel();
      reject(error);
    });
  });
}

const noAnswer = () => new Error(`no answer within ${TIMEOUT_MS / 1000} s`);

const isLocal = (host: string) => host === 'localhost' || host === '::1' || /^127\./.test(host);

const reasons: Record<string, string> = {
  ENOTFOUND: 'the name is not known',
  EAI_AGAIN: 'no name server answers',
  ECONNREFUSED: 'nobody listens there',
  EHOSTUNREACH: 'there is no way to it',
  ENETUNREACH: 'there is no network',
};

function reasonOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  return reasons[code] ?? errorText(error);
}
