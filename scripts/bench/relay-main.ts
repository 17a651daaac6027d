/**
 * One relay node with its operator, as they are asked for at its own address. Its provider is a local Stream that runs outside
 * of it.
 */
import { createOperator, type Operator } from './operator.ts';
import type { Bench } from './program.ts';
import { createRelayNode, type RelayNode, type RelayNodeOptions } from './relay-node.ts';
import { providerEnv, type StreamProcess } from './stream-process.ts';

export interface RelayMain extends RelayNode, Operator {
  /** `http://127.0.0.1:PORT` */
  url: string;
}

export interface RelayMainOptions extends Partial<RelayNodeOptions> {
  port: number;
  dataDir: string;
  /** Default: one of its own. */
  adminToken?: string;
}

export function createRelayMain(bench: Bench, stream: StreamProcess, options: RelayMainOptions): RelayMain {
  const { port, dataDir, adminToken, env, ...rest } = options;
  const url = `http://127.0.0.1:${port}`;
  const operator = createOperator(bench, url, adminToken);
  const node = createRelayNode(bench, {
    ...{ name: 'relay', port, flags: ['--data-dir', dataDir] },
    env: { ...providerEnv(stream), GLASSCAST_ADMIN_TOKEN: operator.adminToken, ...env },
    ...rest,
  });
  // Its process comes and goes: what is read of it is read when it is asked for.
  return Object.assign(node, operator, { url });
}
