/**
 * What the local Stream carries, as Prometheus' text format 0.0.4: publishers, the bytes that came, viewers. Written out here,
 * since it is six numbers, read when somebody asks. Names no input and no viewer.
 */
import type { Publication } from './ingest/ingest.ts';

export interface BroadcastMetrics {
  text(): string;
  readonly contentType: string;
}

export interface BroadcastMetricsOptions {
  publications: () => readonly Publication[];
  viewers: () => { flv: number; webrtc: number };
}

export function createBroadcastMetrics({ publications, viewers }: BroadcastMetricsOptions): BroadcastMetrics {
  const running = new Map<string, number>();
  /** Of publications that are over, as far as they were seen. */
  let endedBytes = 0;

  function receivedBytes(): number {
    const now = new Map(publications().map(({ publicationId, receivedBytes: bytes }) => [publicationId, bytes]));
    for (const [id, bytes] of running) {
      if (now.has(id)) continue;
      endedBytes += bytes;
      running.delete(id);
    }
    let sum = endedBytes;
    for (const [id, bytes] of now) {
      running.set(id, bytes);
      sum += bytes;
    }
    return sum;
  }

  return {
    contentType: 'text/plain; version=0.0.4; charset=utf-8',
    text() {
      const { flv, webrtc } = viewers();
      const metrics: [name: string, kind: 'gauge' | 'counter', help: string, samples: [string, number][]][] = [
        ['publications', 'gauge', 'Publishers that are connected', [['', publications().length]]],
        [
          'received_bytes_total',
          'counter',
          'From publishers; what one sent after the last scrape of it is not in it',
          [['', receivedBytes()]],
        ],
        [
          'viewers',
          'gauge',
          'Viewers with a connection of their own; those by HLS and DASH come and go',
          [
            ['{kind="flv"}', flv],
            ['{kind="webrtc"}', webrtc],
          ],
        ],
        ['resident_memory_bytes', 'gauge', 'Memory of the process', [['', process.memoryUsage.rss()]]],
      ];
      const lines = metrics.flatMap(([name, kind, help, samples]) => {
        const whole = `glasscast_local_stream_${name}`;
        const values = samples.map(([labels, value]) => `${whole}${labels} ${value}`);
        return [`# HELP ${whole} ${help}`, `# TYPE ${whole} ${kind}`, ...values];
      });
      return `${lines.join('\n')}\n`;
    },
  };
}
