/** Nodes of a mesh on loopback: real servers and sockets, and the list of leases given by hand. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type ClusterMesh, createMesh, type MeshOptions, type NodeAddress } from '../../cloud/cluster/mesh.ts';
import type { Clock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { Secret } from '../../shared/secrets.ts';

export interface MeshNode {
  readonly mesh: ClusterMesh;
  readonly address: NodeAddress;
  readonly events: string[];
  /** As a kill does: its sockets are gone and its port refuses. */
  kill(): Promise<void>;
}

export interface MeshWorld {
  add(nodeId: string, options?: Partial<MeshOptions> & { port?: number }): Promise<MeshNode>;
  /** Tells every node the leases of all that live. */
  list(): void;
  until(what: () => boolean): Promise<void>;
  close(): Promise<void>;
}

export function createMeshWorld(clock: Clock): MeshWorld {
  const nodes = new Map<string, MeshNode>();
  const open: (() => Promise<void>)[] = [];
  return {
    async add(nodeId, { port = 0, ...options } = {}) {
      const secret = new Secret('the secret of the cluster');
      const mesh = createMesh({ nodeId, secret, clock, log: silentLog(), ...options });
      const server = createServer();
      server.on('upgrade', (request, socket, head) => mesh.accept(request, socket, head));
      await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
      const address = { nodeId, address: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
      const events: string[] = [];
      mesh.onFound((other) => void events.push(`found ${other}`));
      mesh.onLost((other) => void events.push(`lost ${other}`));
      mesh.onGone((other) => void events.push(`gone ${other}`));
      mesh.start(address.address);
      const kill = async () => {
        nodes.delete(nodeId);
        await Promise.all([closed(server), mesh.close()]);
      };
      open.push(kill);
      const node: MeshNode = { mesh, address, events, kill };
      nodes.set(nodeId, node);
      return node;
    },
    list() {
      const addresses = [...nodes.values()].map(({ address }) => address);
      for (const { mesh } of nodes.values()) mesh.setPeers(addresses);
    },
    async until(what) {
      const untilMs = clock.monotonicMs() + 10_000;
      while (!what()) {
        if (clock.monotonicMs() > untilMs) throw new Error('it did not come to that');
        await clock.sleep(5);
      }
    },
    async close() {
      for (const end of open) await end();
    },
  };
}

function closed(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(() => resolve()));
}
