/**
 * FLV video tags as access units for RTP: NAL units with four bytes of length each, decoder configuration before every key
 * frame, nothing malformed. Sees pictures that are sent out of their order. Holds one configuration; never throws.
 */
import { type FlvTag, isKeyFrame, isSequenceHeader, timestampDiffMs } from '../../../shared/rtmp/flv.ts';

export interface Picture {
  unit: Buffer;
  isKey: boolean;
  /** When it is to be shown, on the feed's timeline; 32 bit. */
  timestampMs: number;
}

export interface PictureReader {
  /** Undefined for what holds no picture: configurations, sound, broken ones, all before the first configuration. */
  read(tag: FlvTag): Picture | undefined;
  /** `profile_idc` of the newest configuration. */
  profileIdc(): number | undefined;
  /** A picture came after one that is shown later: there are B-frames. */
  isReordered(): boolean;
}

/** AVCPacketType, CompositionTime and the byte before them (FLV specification, E.4.3). */
const HEADER_BYTES = 5;
const PREFIX_BYTES = 4;
const AVC = 7;

export function createPictureReader(): PictureReader {
  let configuration: { units: Buffer; prefixBytes: number; profileIdc: number } | undefined;
  let last: { timestampMs: number; delayMs: number } | undefined;
  let isReordered = false;

  return {
    read(tag) {
      if (tag.kind !== 'video' || tag.body.length <= HEADER_BYTES || (tag.body.readUInt8(0) & 0x0f) !== AVC)
        return undefined;
      const data = tag.body.subarray(HEADER_BYTES);
      if (isSequenceHeader(tag)) {
        configuration = readConfiguration(data) ?? configuration;
        last = undefined;
        return undefined;
      }
      if (!configuration || tag.body[1] !== 1) return undefined;
      const units = withFourBytePrefixes(data, configuration.prefixBytes);
      if (units.length === 0) return undefined;
      const delayMs = tag.body.readIntBE(2, 3);
      const timestampMs = (tag.timestampMs + delayMs) >>> 0;
      // A clock that is set back moves both times; B-frames move one against the other.
      isReordered ||=
        last !== undefined && delayMs !== last.delayMs && timestampDiffMs(timestampMs, last.timestampMs) < 0;
      last = { timestampMs, delayMs };
      const isKey = isKeyFrame(tag);
      return { unit: isKey ? Buffer.concat([configuration.units, units]) : units, isKey, timestampMs };
    },
    profileIdc: () => configuration?.profileIdc,
    isReordered: () => isReordered,
  };
}

/** Of an AVCDecoderConfigurationRecord (ISO/IEC 14496-15 §5.3.3). */
function readConfiguration(record: Buffer): { units: Buffer; prefixBytes: number; profileIdc: number } | undefined {
  if (record.length < 7 || record[0] !== 1) return undefined;
  const prefixBytes = (record.readUInt8(4) & 3) + 1;
  const units: Buffer[] = [];
  let at = 5;
  for (const countMask of [0x1f, 0xff]) {
    if (at >= record.length) return undefined;
    let count = record.readUInt8(at) & countMask;
    at += 1;
    for (; count > 0; count -= 1) {
      if (at + 2 > record.length) return undefined;
      const bytes = record.readUInt16BE(at);
      const unit = record.subarray(at + 2, at + 2 + bytes);
      if (bytes === 0 || unit.length < bytes) return undefined;
      units.push(prefixed(unit));
      at += 2 + bytes;
    }
  }
  return units.length > 0 ? { units: Buffer.concat(units), prefixBytes, profileIdc: record.readUInt8(1) } : undefined;
}

/** The same bytes when nothing has to change, which is nearly always; what is cut short is left out. */
function withFourBytePrefixes(data: Buffer, prefixBytes: number): Buffer {
  const units: Buffer[] = [];
  let at = 0;
  let isClean = prefixBytes === PREFIX_BYTES;
  while (at < data.length) {
    const end = at + prefixBytes;
    const bytes = end <= data.length ? data.readUIntBE(at, prefixBytes) : Number.POSITIVE_INFINITY;
    if (end + bytes > data.length) {
      isClean = false;
      break;
    }
    // The packetizer expects a header in every unit.
    if (bytes === 0) isClean = false;
    else units.push(data.subarray(end, end + bytes));
    at = end + bytes;
  }
  return isClean ? data : Buffer.concat(units.map(prefixed));
}

function prefixed(unit: Buffer): Buffer {
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.writeUInt32BE(unit.length);
  return Buffer.concat([prefix, unit]);
}
