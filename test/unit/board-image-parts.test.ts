import { describe, expect, it } from 'vitest';
import { cpioArchive } from '../../scripts/hardware/cpio-archive.ts';
import { needsOf } from '../../scripts/hardware/kernel-modules.ts';
import { wishOf } from '../../scripts/hardware/measured-board.ts';

describe('parts of the bench’s image', () => {
  it('reads what a kernel module depends on', () => {
    const module = Buffer.from('\x7fELF\0license=GPL\0depends=jbd2,mb-cache\0name=ext4\0');
    expect(needsOf(module)).toEqual(['jbd2', 'mb_cache']);
    expect(needsOf(Buffer.from('\x7fELF\0depends=\0name=x\0'))).toEqual([]);
  });

  it('packs a first file system as the kernel takes it', () => {
    const archive = cpioArchive([{ path: 'bin' }, { path: 'init', content: Buffer.from('hello'), isExecutable: true }]);
    expect(archive.length % 4).toBe(0);
    expect(archive.toString('latin1', 0, 22)).toBe('070701' + '00000001' + '000041ed');
    expect(archive.toString('latin1')).toMatch(/init\0.*hello/s);
    expect(archive.toString('latin1')).toContain('TRAILER!!!');
  });

  it('takes sizes as they are written, and nothing else', () => {
    expect(wishOf(' 640x360@10')).toMatchObject({ widthPx: 640, heightPx: 360, frameRate: 10 });
    expect(() => wishOf('640x360')).toThrow('--sizes');
  });
});
