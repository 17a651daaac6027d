import { describe, expect, it } from 'vitest';
import { createSendQueue, procAddress } from '../../shared/rtmp/send-queue.ts';

const TCP = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:07E8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1066 1
   1: 0100007F:C350 0100007F:078F 01 0001F4A0:00000000 01:00000016 00000000     0        0 2043 3
   2: 0100007F:078F 0100007F:C350 01 00000000:00000010 00:00000000 00000000     0        0 2044 1
`;
const ends = { localAddress: '127.0.0.1', localPort: 50_000, remoteAddress: '127.0.0.1', remotePort: 1935 };

describe('send queue', () => {
  it('reads the row of the connection, not that of its other end', async () => {
    const queue = createSendQueue({ readTable: async () => TCP });
    expect(await queue.queuedBytes(ends)).toBe(0x1f4a0);
    expect(await queue.queuedBytes({ ...ends, localPort: 1935, remotePort: 50_000 })).toBe(0);
  });
  it('is undefined for a connection that is gone, an odd address, and where there is no table', async () => {
    const queue = createSendQueue({ readTable: async () => TCP });
    expect(await queue.queuedBytes({ ...ends, localPort: 50_001 })).toBeUndefined();
    expect(await queue.queuedBytes({ ...ends, localAddress: 'not-an-address' })).toBeUndefined();
    const none = createSendQueue({ readTable: async () => Promise.reject(new Error('ENOENT')) });
    expect(await none.queuedBytes(ends)).toBeUndefined();
  });
  it('reads the table once for all who ask at the same time', async () => {
    const names: string[] = [];
    const queue = createSendQueue({
      readTable: async (name) => {
        names.push(name);
        return TCP;
      },
    });
    await Promise.all([queue.queuedBytes(ends), queue.queuedBytes(ends), queue.queuedBytes(ends)]);
    expect(names).toEqual(['tcp']);
    await queue.queuedBytes({ ...ends, localAddress: '::1', remoteAddress: '::1' });
    expect(names).toEqual(['tcp', 'tcp6']);
  });
  it.each([
    ['127.0.0.1', '0100007F:0050'],
    ['::1', '00000000000000000000000001000000:0050'],
    ['2001:db8::ff00:42:8329', 'B80D01200000000000FF000029834200:0050'],
    ['::ffff:192.168.1.5', '0000000000000000FFFF00000501A8C0:0050'],
    ['fe80::1%eth0', '000080FE000000000000000001000000:0050'],
  ])('writes %s as the kernel does', (address, expected) => {
    expect(procAddress(address, 80)).toBe(expected);
  });
});
