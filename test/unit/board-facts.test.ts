import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { boardFactsOf } from '../../scripts/flash/board-facts.ts';
import { boardText, warningsOf } from '../../scripts/flash/fitness.ts';
import { isGlasscastError } from '../../shared/errors.ts';

const OUTPUT = `architecture=arm64
os=Debian GNU/Linux 12 (bookworm)
dpkg=yes
systemd=yes
libc=glibc 2.36
free_kb=4000000
free_kb=2000000
clock_s=1700000000
camera=/dev/video0
sound=Camera: USB-Audio
ffmpeg=5.1.6
encoder=h264_v4l2m2m
installed=1.0.0
running=yes
token=yes
fingerprint=abc
user=ada@example.com
before=yes
end=yes
`;

describe('boardFactsOf', () => {
  it('reads what look.sh prints', () => {
    expect(boardFactsOf(OUTPUT)).toEqual({
      ...{
        architecture: 'arm64',
        os: 'Debian GNU/Linux 12 (bookworm)',
        hasDpkg: true,
        hasSystemd: true,
        libcVersion: '2.36',
      },
      ...{
        freeBytes: 2_048_000_000,
        clockMs: 1_700_000_000_000,
        cameras: ['/dev/video0'],
        soundCards: ['Camera: USB-Audio'],
      },
      ...{
        ffmpeg: { version: '5.1.6', encoders: ['h264_v4l2m2m'] },
        installedVersion: '1.0.0',
        isRunning: true,
        hasToken: true,
      },
      ...{
        flashed: { fingerprint: 'abc', user: 'ada@example.com' },
        isUnfinished: false,
        isApplying: false,
        hasBefore: true,
      },
    });
  });

  it.each([
    ['aarch64', 'arm64'],
    ['armv7l', 'armhf'],
    ['x86_64', 'amd64'],
  ])('knows %s of a board without dpkg', (kernel, name) => {
    expect(boardFactsOf(`architecture=${kernel}\nend=yes`).architecture).toBe(name);
  });

  it('counts the system, not a kernel of more bits', () => {
    expect(boardFactsOf('architecture=armhf\nprocessor=aarch64\nend=yes').architecture).toBe('armhf');
  });

  it.each([
    ['architecture=riscv64\nend=yes', 'its architecture is riscv64'],
    ['architecture=armhf\nprocessor=armv6l\nend=yes', 'it is an ARMv6 (Raspberry Pi 1, Zero, Zero W)'],
    ['architecture=arm64\n', 'the look at it broke off'],
    ['', 'the look at it broke off'],
  ])('refuses %j', (output, reason) => {
    expect(() => boardFactsOf(output)).toThrow(reason);
  });

  it('gives facts without control characters, or refuses, whatever a board prints', () => {
    const line = fc.tuple(
      fc.constantFrom('os', 'camera', 'clock_s', 'free_kb', 'libc', 'user', 'x'),
      fc.string({ unit: 'binary' }),
    );
    fc.assert(
      fc.property(fc.array(line), (lines) => {
        const text = `architecture=amd64\n${lines.map(([name, value]) => `${name}=${value}`).join('\n')}\nend=yes\n`;
        try {
          const facts = boardFactsOf(text);
          expect(JSON.stringify(facts)).not.toMatch(/\p{Cc}/u);
          expect(boardText(facts)).not.toMatch(/\p{Cc}/u);
        } catch (error) {
          expect(isGlasscastError(error)).toBe(true);
        }
      }),
    );
  });
});

describe('warningsOf', () => {
  it('tells of a clock that is off, and of a flash that was cut', () => {
    const facts = boardFactsOf(OUTPUT);
    expect(warningsOf(facts, 1_700_000_000_000)).toEqual([]);
    expect(warningsOf({ ...facts, isUnfinished: true }, 1_700_003_600_000)).toEqual([
      'its clock is 60 min off; let it reach a time server',
      'a flash was cut there, and is ended first',
    ]);
  });
});
