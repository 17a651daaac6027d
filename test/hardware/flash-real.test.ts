/** The real package by `glasscast flash --ssh` into a booted Debian: its pictures arrive, and a broken one is taken back. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCommandLine } from '../../scripts/cli/command-line.ts';
import { buildDevicePackage } from '../../scripts/package/device-package.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { canBootDebian } from '../support/debian-root.ts';
import { probe } from '../support/ffprobe.ts';
import { createRelayWorld, type RelayWorld } from '../support/relay-world.ts';
import { openSshBoard, type SshBoard, toyPackage } from '../support/ssh-board.ts';

const EMAIL = 'ada@example.com';

interface StreamJson {
  streamId: string;
  state: string;
  message?: string;
  urls?: { hlsUrl: string };
}

interface RecordingJson {
  streamId: string;
  state: string;
  urls: { hlsUrl: string };
}

describe.skipIf(!canBootDebian())('glasscast flash with the real package', { timeout: 300_000 }, () => {
  let board: SshBoard;
  let relay: RelayWorld;
  let packageFile = '';
  const clock = createSystemClock();

  beforeAll(async () => {
    [board, relay] = await Promise.all([openSshBoard(), createRelayWorld({ keepRecordings: true })]);
    const made = { architecture: 'amd64', version: '1.2.3', outFolder: board.folder } as const;
    packageFile = (await buildDevicePackage({ ...made, spawn: board.spawn, clock })).file;
  }, 600_000);
  afterAll(async () => {
    await relay?.close();
    await board?.close();
  }, 60_000);

  async function glasscast(...args: string[]) {
    const said: string[] = [];
    const failed: string[] = [];
    const code = await runCommandLine(
      [
        ...['flash', '--ssh', 'ada@127.0.0.1', '--port', String(board.port), '--identity', `${board.folder}/key`],
        ...board.sshOptions.flatMap((option) => ['--ssh-option', option]),
        ...['--relay-url', relay.url, '--agent-relay-url', `${relay.wsUrl}/glasses-ws`, '--email', EMAIL],
        ...['--source', 'test-pattern', ...args],
      ],
      {
        environment: { GLASSCAST_ADMIN_TOKEN: relay.adminToken.reveal() },
        output: { write: (text) => void said.push(text) },
        errors: { write: (text) => void failed.push(text) },
      },
    );
    const [out, err] = [said.join(''), failed.join('')];
    expect(out + err).not.toContain(relay.adminToken.reveal());
    return { code, out, err };
  }

  /** Starts a stream by hand and decodes what comes. */
  async function framesOf(seconds: number): Promise<{ codecs: string[]; frames: number }> {
    const path = `/api/users/${EMAIL}/managed-stream`;
    const { streamId } = await relay.rest<StreamJson>('POST', path, {});
    let stream: StreamJson | undefined;
    for (let i = 0; i < 120 && stream?.state !== 'active'; i += 1) {
      await clock.sleep(500);
      stream = await relay.rest<StreamJson>('GET', `/api/streams/${streamId}`);
    }
    const timeline = JSON.stringify(await relay.rest('GET', `/api/streams/${streamId}/timeline`));
    expect(stream, timeline).toMatchObject({ state: 'active' });
    await clock.sleep(seconds * 1_000);
    await relay.rest('DELETE', path);
    let url: string | undefined;
    for (let i = 0; i < 120 && url === undefined; i += 1) {
      await clock.sleep(250);
      const { recordings } = await relay.rest<{ recordings: RecordingJson[] }>('GET', '/api/recordings');
      url = recordings.find((each) => each.streamId === streamId && each.state === 'ready')?.urls.hlsUrl;
    }
    const probed = await probe(board.spawn, url ?? '', { countFrames: true });
    const video = probed.streams.find(({ codec_type: type }) => type === 'video');
    return {
      codecs: probed.streams.map(({ codec_name: name }) => name).sort(),
      frames: Number(video?.nb_read_frames ?? 0),
    };
  }

  it('flashes, enrols, is heard at the relay and streams', async () => {
    const { code, out, err } = await glasscast('--package', packageFile);
    expect(code, out + err).toBe(0);
    for (const step of ['Board', 'Package', 'Code', 'Upload', 'Install', 'Relay', 'Test stream'])
      expect(out).toContain(`✓ ${step}`);
    const { codecs, frames } = await framesOf(4);
    expect(codecs).toEqual(['aac', 'h264']);
    expect(frames).toBeGreaterThan(30);
    expect(await board.root.must('cat /etc/default/glasscast-agent')).not.toContain('CODE');
  });

  it('changes nothing the second time', async () => {
    const pid = await board.mainPid();
    const { code, out } = await glasscast('--package', packageFile, '--no-test-stream');
    expect([code, out.includes('was flashed already, with 1.2.3')]).toEqual([0, true]);
    expect(await board.mainPid()).toBe(pid);
  });

  it('takes a broken version back, and the old one streams again', async () => {
    const broken = await toyPackage(board.spawn, board.folder, { version: '9.9.9', mood: 'mute' });
    const { code, err } = await glasscast('--package', broken, '--deadline', '15');
    expect(code).toBe(1);
    expect(err).toContain('never says that it is ready; 1.2.3 is there again');
    expect((await framesOf(4)).frames).toBeGreaterThan(30);
  });

  it('takes a version back that works on the board and does not come to the relay', async () => {
    const silent = await toyPackage(board.spawn, board.folder, { version: '9.9.8', mood: 'good' });
    const { code, out, err } = await glasscast('--package', silent, '--deadline', '15');
    expect([code, out.includes('✗ Relay')], err).toEqual([1, true]);
    expect(await board.version()).toBe('1.2.3');
    expect((await framesOf(2)).frames).toBeGreaterThan(15);
  });

  it('undoes to an empty board', async () => {
    await board.root.must(
      'rm -rf /var/lib/glasscast-flash/before && mkdir -p /var/lib/glasscast-flash/before && touch /var/lib/glasscast-flash/before/none',
    );
    const { code, out } = await glasscast('--undo');
    expect([code, out.includes('is as it was before the last flash')]).toEqual([0, true]);
    expect(await board.version()).toBe('');
    expect(
      (await board.root.run('ls -d /etc/default/glasscast-agent /var/lib/glasscast /var/lib/private/glasscast')).output,
    ).toBe('');
  });
});
