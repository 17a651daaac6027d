/** What this process uses of its machine: CPU, memory, descriptors, collections of garbage. Read when somebody asks. */
import { readdirSync } from 'node:fs';
import { constants, PerformanceObserver } from 'node:perf_hooks';
import type { LoopWatch } from '../health/loop-watch.ts';
import type { Meters } from './meters.ts';

const GC_KINDS: Readonly<Record<number, string>> = {
  [constants.NODE_PERFORMANCE_GC_MAJOR]: 'major',
  [constants.NODE_PERFORMANCE_GC_MINOR]: 'minor',
  [constants.NODE_PERFORMANCE_GC_INCREMENTAL]: 'incremental',
  [constants.NODE_PERFORMANCE_GC_WEAKCB]: 'weak_callbacks',
};

/** @returns the way to stop looking. */
export function addProcessMetrics(meters: Meters, loop: Pick<LoopWatch, 'lag' | 'worstMs'>): () => void {
  meters.gauge(
    'glasscast_event_loop_lag_seconds',
    'How late the event loop was in the last whole second, p50 and p99; max is the worst of the last ten seconds',
    { stat: ['p50', 'p99', 'max'] },
    () => {
      const { p50Ms, p99Ms } = loop.lag();
      const readings = { p50: p50Ms, p99: p99Ms, max: loop.worstMs() };
      return Object.entries(readings).map(([stat, ms]) => ({ labels: { stat }, value: ms / 1000 }));
    },
  );
  meters.gauge(
    'glasscast_process_cpu_seconds',
    'CPU time of the process since it began',
    { mode: ['user', 'system'] },
    () => {
      const { user, system } = process.cpuUsage();
      return Object.entries({ user, system }).map(([mode, microseconds]) => ({
        labels: { mode },
        value: microseconds / 1e6,
      }));
    },
  );
  meters.gauge(
    'glasscast_process_memory_bytes',
    'Memory of the process: resident, heap used, heap taken, outside of the heap',
    { kind: ['rss', 'heap_used', 'heap_total', 'external'] },
    () => {
      const { rss, heapUsed, heapTotal, external } = process.memoryUsage();
      const readings = { rss, heap_used: heapUsed, heap_total: heapTotal, external };
      return Object.entries(readings).map(([kind, value]) => ({ labels: { kind }, value }));
    },
  );
  meters.gauge(
    'glasscast_process_open_descriptors',
    'Open files and sockets; no value where the system does not tell',
    {},
    () => {
      // Less the one that looks.
      return readdirSync('/proc/self/fd').length - 1;
    },
  );
  meters.gauge('glasscast_process_uptime_seconds', 'Since the process began', {}, () => process.uptime());
  const collections = meters.histogram(
    'glasscast_gc_seconds',
    'How long collections of garbage took',
    { kind: Object.values(GC_KINDS) },
    [0.001, 0.005, 0.02, 0.1, 0.5],
  );
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      const { kind } = (entry as unknown as { detail?: { kind?: number } }).detail ?? {};
      collections({ kind: GC_KINDS[kind ?? 0] ?? 'other' }).observe(entry.duration / 1000);
    }
  });
  observer.observe({ entryTypes: ['gc'] });
  return () => observer.disconnect();
}
