/** Decoder configurations: real ones are read right, broken ones never throw. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parameterSets, readAudioConfig, readVideoConfig } from '../../shared/codec-config.ts';
import { aacRecords, avcRecords } from '../support/media-tags.ts';

describe('video', () => {
  it.each(Object.entries(avcRecords))('%s', (size, hex) => {
    const config = readVideoConfig(Buffer.from(hex, 'hex'));
    expect(`${config?.width}x${config?.height}`).toBe(size);
    expect(config?.codec).toBe(`avc1.${hex.slice(2, 8)}`);
  });
  it('its parameter sets are NAL units with four-byte lengths', () => {
    const config = readVideoConfig(Buffer.from(avcRecords['640x360'], 'hex'));
    const sets = config ? parameterSets(config) : Buffer.alloc(0);
    expect(sets.readUInt32BE(0)).toBe(25);
    expect((sets[4] ?? 0) & 0x1f).toBe(7);
    expect(sets.readUInt32BE(29)).toBe(4);
    expect((sets[33] ?? 0) & 0x1f).toBe(8);
    expect(sets).toHaveLength(37);
  });
});

describe('audio', () => {
  it('reads rate, channels and frame length', () => {
    expect(readAudioConfig(Buffer.from(aacRecords['44100 mono'], 'hex'))).toMatchObject({
      ...{ codec: 'mp4a.40.2', sampleRate: 44_100, channels: 1, samplesPerFrame: 1024 },
    });
    expect(readAudioConfig(Buffer.from('1190', 'hex'))).toMatchObject({ sampleRate: 48_000, channels: 2 });
    // HE-AAC: frames are counted at the core's rate. Then 960 samples a frame, then a rate written out.
    expect(readAudioConfig(Buffer.from('2b920800', 'hex'))).toMatchObject({ codec: 'mp4a.40.5', sampleRate: 22_050 });
    expect(readAudioConfig(Buffer.from('1194', 'hex'))).toMatchObject({ samplesPerFrame: 960 });
    expect(readAudioConfig(Buffer.from('178031d008', 'hex'))).toMatchObject({ sampleRate: 25_504 });
  });
});

describe('broken ones', () => {
  it('are refused or read, never thrown at', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        readVideoConfig(Buffer.from(bytes));
        readAudioConfig(Buffer.from(bytes));
      }),
    );
    const whole = Buffer.from(avcRecords['1280x720'], 'hex');
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.nat(255), fc.nat(whole.length), (at, byte, length) => {
        const bent = Buffer.from(whole);
        bent[at] = byte;
        const config = readVideoConfig(bent.subarray(0, length));
        if (config) parameterSets(config);
      }),
    );
    expect(readVideoConfig(whole.subarray(0, 20))).toBeUndefined();
    expect(readAudioConfig(Buffer.alloc(0))).toBeUndefined();
  });
});
