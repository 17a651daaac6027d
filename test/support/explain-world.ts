/** A relay, the local Stream and an agent in a scripted world, all real but for the world: for faults and what is said of them. */
import type { FaultName } from '../../cloud/local-stream/faults.ts';
import type { LocalStreamAddress } from '../../cloud/local-stream/server.ts';
import type { RelayOptions } from '../../cloud/relay.ts';
import type { Explanation } from '../../cloud/streams/stream-history.ts';
import { type Agent, type AgentOptions, createAgent } from '../../device/agent.ts';
import { parseCaptureSource } from '../../device/capture/capture-source.ts';
import { libx264 } from '../../device/encoding/video-encoders.ts';
import { parseScenario } from '../../device/simulator/scenario.ts';
import { openSimulation } from '../../device/simulator/simulation.ts';
import { createLog } from '../../shared/log.ts';
import { createRedactor, Secret } from '../../shared/secrets.ts';
import { createRelayWorld } from './relay-world.ts';

export const EXPLAIN_USER = 'ada@example.com';
const PATH = `/api/users/${EXPLAIN_USER}/managed-stream`;
const small = { width: 320, height: 180, bitrate: 300_000, frameRate: 15 };

type Told = Explanation & { status: number };

export interface ExplainOptions {
  relay?: Partial<RelayOptions> | ((provider: LocalStreamAddress) => Promise<Partial<RelayOptions>>);
  agent?: Partial<AgentOptions>;
}

/** @param events of the scripted world, whose time begins when the stream is live; `atS: 0` holds before as well. */
export async function createExplainWorld(events: object[] = [], { relay = {}, agent: more }: ExplainOptions = {}) {
  const world = await createRelayWorld(relay, { adminPort: 0 });
  const { clock, rest, provider } = world;
  const redactor = createRedactor();
  const log = createLog({ program: 'agent', level: 'info', redactor, destination: { write() {} } });
  const anEvent = events.length > 0 ? events : [{ atS: 0, network: {} }];
  const scenario = parseScenario(JSON.stringify({ about: 'a test', events: anEvent }), 'test');
  const simulation = await openSimulation({ scenario, seed: 1, clock, log });
  const { coreToken } = await rest<{ coreToken: string }>('POST', '/api/tokens', { email: EXPLAIN_USER });
  const agent: Agent = createAgent({
    // However long a start takes here: faults come after it.
    simulation: { ...simulation, begin() {} },
    ...{ clock, log, redactor, relayUrl: `${world.wsUrl}/glasses-ws`, coreToken: new Secret(coreToken) },
    ...{ source: parseCaptureSource('test-pattern'), encoders: [libx264], statsEveryMs: 500, ...more },
  });
  await agent.start();
  let streamId = '';

  async function explain(): Promise<Told> {
    return rest<Told>('GET', `/api/streams/${streamId}/explain`);
  }
  /** @returns what is told once it fits. @throws with the last that did not. */
  async function until(fits: (told: Told) => boolean, timeoutMs = 45_000): Promise<Told> {
    const endMs = clock.monotonicMs() + timeoutMs;
    for (;;) {
      const told = await explain();
      if (told.status === 200 && fits(told)) return told;
      if (clock.monotonicMs() > endMs) throw new Error(`never so: ${JSON.stringify(told)}`);
      await clock.sleep(100);
    }
  }
  /** As the operator, once the glasses are there. */
  async function request(video: object = small): Promise<void> {
    for (;;) {
      const answer = await rest<{ status: number; streamId: string }>('POST', PATH, { video });
      streamId = answer.streamId;
      if (answer.status === 202) return;
      await clock.sleep(50);
    }
  }
  return {
    ...{ world, agent, explain, request, until },
    /** Requests it, and begins the world's time once it is live. */
    async goLive(video?: object): Promise<void> {
      await request(video);
      await until(({ state }) => state === 'active');
      simulation.begin();
    },
    get streamId() {
      return streamId;
    },
    end: () => rest('DELETE', `/api/streams/${streamId}`),
    leave: () => rest('DELETE', PATH),
    async fault(name: FaultName, settings: object = {}): Promise<void> {
      await fetch(`http://127.0.0.1:${provider.adminPort}/faults/${name}`, {
        ...{ method: 'PUT', body: JSON.stringify(settings) },
        headers: { authorization: `Bearer ${provider.apiToken.reveal()}`, 'content-type': 'application/json' },
      });
    },
    /** The provider's input is switched off: its ingest cuts who pushes, and refuses the key from then on. */
    async disableInput(): Promise<void> {
      const [input] = (await world.providerCall('/live_inputs')) as { uid: string }[];
      const { apiBaseUrl, accountId, apiToken } = provider;
      await fetch(`${apiBaseUrl}/accounts/${accountId}/stream/live_inputs/${input?.uid}`, {
        ...{ method: 'PUT', body: JSON.stringify({ enabled: false }) },
        headers: { authorization: `Bearer ${apiToken.reveal()}`, 'content-type': 'application/json' },
      });
    },
    async [Symbol.asyncDispose]() {
      await agent.close();
      await simulation.close();
      await world.close();
    },
  };
}
