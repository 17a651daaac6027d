/** A relay with the command line beside it, and scripted glasses that obey orders to update as an agent does. */
import { generateKeyPairSync } from 'node:crypto';
import type { RelayOptions } from '../../cloud/relay.ts';
import { runCommandLine } from '../../scripts/cli/command-line.ts';
import type { AgentFacts } from '../../shared/protocol/releases.ts';
import { sealRelease } from '../../shared/release.ts';
import { createRelayWorld, type Frame, openPeer, type Peer } from './relay-world.ts';

/** What comes of an order. */
export type UpdateManner = 'installs' | 'rolls back' | 'refuses' | 'is interrupted' | 'waits';

export async function createReleaseWorld(overrides: Partial<RelayOptions> = {}) {
  const relay = await createRelayWorld({ rolloutResumeGraceMs: 300, ...overrides });
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const environment = { GLASSCAST_URL: relay.url, GLASSCAST_ADMIN_TOKEN: relay.adminToken.reveal() };
  const closers: (() => void)[] = [];

  async function glasscast(...args: string[]) {
    const said = { out: '', err: '' };
    const code = await runCommandLine(args, {
      environment,
      output: { write: (text) => (said.out += text) },
      errors: { write: (text) => (said.err += text) },
    });
    return { code, out: said.out.trimEnd(), err: said.err.trimEnd() };
  }
  const sealed = (version: string, code = `console.log('${version}');\n`.repeat(1_000)) =>
    sealRelease({ version, minNode: 20, code: Buffer.from(code), privateKey });
  /** As the agent and the command line do, with any method and any headers. */
  function call(method: string, version: string, token?: string, init: RequestInit = {}): Promise<Response> {
    const headers = { ...(token === undefined ? {} : { authorization: `Bearer ${token}` }), ...init.headers };
    return fetch(`${relay.url}/api/agent-releases/${version}`, { ...init, method, headers });
  }

  return {
    ...{ relay, publicKey, glasscast, sealed, call, environment },
    publish: (version: string) =>
      call('PUT', version, relay.adminToken.reveal(), { body: new Blob([new Uint8Array(sealed(version))]) }),
    async device(email: string, manner: UpdateManner = 'installs', version = '1.3.0') {
      const { coreToken } = await relay.rest<{ coreToken: string }>('POST', '/api/tokens', { email });
      const fetchRelease = (wanted: string) => call('GET', wanted, coreToken);
      const device = await createUpdatingDevice({
        url: `${relay.wsUrl}/glasses-ws`,
        coreToken,
        fetchRelease,
        manner,
        version,
      });
      closers.push(device.close);
      return { email, coreToken, ...device };
    },
    async close() {
      for (const close of closers) close();
      return relay.close();
    },
  };
}
export type ReleaseWorld = Awaited<ReturnType<typeof createReleaseWorld>>;

interface DeviceOptions {
  url: string;
  coreToken: string;
  fetchRelease: (version: string) => Promise<Response>;
  manner: UpdateManner;
  version: string;
}

async function createUpdatingDevice({ url, coreToken, fetchRelease, ...start }: DeviceOptions) {
  const state = { ...start, orders: [] as string[], heard: [] as Frame[], hasClosed: false };
  let before = state.version;
  let peer: Peer | undefined;
  let lastUpdate: AgentFacts['lastUpdate'];

  async function connect(): Promise<void> {
    if (state.hasClosed) return;
    try {
      peer = await openPeer(url, { authorization: `Bearer ${coreToken}` });
    } catch {
      // The relay is away for a moment.
      await new Promise((resolve) => setTimeout(resolve, 100));
      return connect();
    }
    const mine = peer;
    const take = (frame: Frame) => {
      state.heard.push(frame);
      obey(frame).catch(() => {});
    };
    mine.socket.on('message', (data) => take(JSON.parse(data.toString()) as Frame));
    for (const frame of mine.inbox.frames) take(frame);
    mine.closed.then(() => (peer === mine ? connect() : undefined));
    const agent: AgentFacts = {
      version: state.version,
      architecture: 'arm64',
      canUpdate: true,
      ...(lastUpdate ? { lastUpdate } : {}),
    };
    mine.send({ type: 'glasses_connection_state', status: 'CONNECTED', modelName: 'Glasscast board', agent });
  }
  function say(version: string, word: string, more: object = {}): void {
    peer?.send({ type: 'agent_update_status', version, state: word, ...more });
  }
  function restart(): void {
    peer?.socket.terminate();
  }
  async function obey(frame: Frame): Promise<void> {
    if (frame.type === 'agent_rollback') {
      state.orders.push('rollback');
      state.version = before;
      lastUpdate = undefined;
      return restart();
    }
    if (frame.type !== 'agent_update' || frame.version === state.version) return;
    const version = frame.version as string;
    state.orders.push(version);
    if (state.manner === 'refuses') return say(version, 'refused', { reason: `${version} is older than 1.9.0` });
    say(version, 'downloading', { percent: 0 });
    const response = await fetchRelease(version);
    if (!response.ok || (await response.arrayBuffer()).byteLength === 0) {
      return say(version, 'refused', { reason: `HTTP ${response.status}` });
    }
    if (state.manner === 'waits') return say(version, 'waiting');
    await become(version);
  }
  /** Ends and comes back, as what its manner says. */
  async function become(version: string): Promise<void> {
    say(version, 'switching');
    await new Promise((resolve) => setTimeout(resolve, 20));
    if (state.manner === 'rolls back') lastUpdate = { version, outcome: 'rolled_back', reason: 'it never said hello' };
    else if (state.manner === 'is interrupted') {
      lastUpdate = { version, outcome: 'interrupted' };
      state.manner = 'installs';
    } else {
      before = state.version;
      state.version = version;
      lastUpdate = { version, outcome: 'installed' };
    }
    restart();
  }
  await connect();
  return {
    state,
    become,
    close() {
      state.hasClosed = true;
      peer?.socket.terminate();
    },
  };
}
