import { describe, expect, it } from 'vitest';
import { createBroadcastMetrics } from '../../cloud/local-stream/broadcast-metrics.ts';
import type { Publication } from '../../cloud/local-stream/ingest/ingest.ts';
import { seriesOf } from '../support/metrics-text.ts';

describe('what the local Stream carries', () => {
  it('is told in the text format, and the bytes never go back', () => {
    let publications: Publication[] = [];
    const metrics = createBroadcastMetrics({
      publications: () => publications,
      viewers: () => ({ flv: 2, webrtc: 1 }),
    });
    const publication = (publicationId: string, receivedBytes: number): Publication => {
      return { publicationId, receivedBytes, inputUid: 'i', remoteAddress: '127.0.0.1:1' };
    };
    const told = () => {
      const series = seriesOf(metrics.text());
      return ['publications', 'received_bytes_total'].map((name) => series.get(`glasscast_local_stream_${name}`));
    };
    expect(told()).toEqual([0, 0]);
    publications = [publication('a', 100), publication('b', 50)];
    expect(told()).toEqual([2, 150]);
    publications = [publication('b', 80)];
    expect(told()).toEqual([1, 180]);
    publications = [];
    expect(told()).toEqual([0, 180]);
    const series = seriesOf(metrics.text());
    expect(series.get('glasscast_local_stream_viewers{kind="flv"}')).toBe(2);
    expect(series.get('glasscast_local_stream_viewers{kind="webrtc"}')).toBe(1);
    expect(series.get('glasscast_local_stream_resident_memory_bytes')).toBeGreaterThan(1e6);
    expect(metrics.text()).not.toContain('127.0.0.1');
  });
});
