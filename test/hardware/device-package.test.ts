/** The package for amd64, installed in a small Debian that boots: it runs there as the unit says, streams, is upgraded and purged. */
import { copyFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DevicePackage } from '../../scripts/package/device-package.ts';
import { createChildSpawner } from '../../shared/child-process.ts';
import { createSystemClock } from '../../shared/clock.ts';
import { bundledFfmpeg } from '../../shared/ffmpeg-binary.ts';
import { silentLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { canBootDebian, type DebianRoot, openDebianRoot } from '../support/debian-root.ts';
import { packageForTest } from '../support/device-packages.ts';
import { probe } from '../support/ffprobe.ts';
import { createRelayWorld, type RelayWorld } from '../support/relay-world.ts';

const USER = 'ada-p@example.com';
const STREAM = `/api/users/${USER}/managed-stream`;

interface Snapshot {
  streams: { state: string; playback: { hlsUrl: string } }[];
}

/** In order: each test goes on where the one before it ended, as a board's life does. */
describe.runIf(canBootDebian())('the package, installed', () => {
  const children = createChildSpawner({ clock: createSystemClock(), log: silentLog(), redactor: createRedactor() });
  let root: DebianRoot;
  let relay: RelayWorld;
  let made: DevicePackage[] = [];

  beforeAll(async () => {
    made = [
      await packageForTest({ architecture: 'amd64', version: '0.1.0' }),
      await packageForTest({ architecture: 'amd64', version: '0.1.1' }),
    ];
    relay = await createRelayWorld();
    root = await openDebianRoot();
  });
  afterAll(async () => {
    await root?.close();
    await relay?.close();
    await children.close();
    for (const { file } of made) rmSync(dirname(file), { recursive: true, force: true });
  });

  async function install(version: string): Promise<void> {
    const file = made.find((each) => each.version === version)?.file ?? '';
    copyFileSync(file, join(root.folder, 'root/agent.deb'));
    await root.must('dpkg -i /root/agent.deb 2>&1');
  }
  const unit = async (property: string) => root.must(`systemctl show --value -p ${property} glasscast-agent`);
  const isConnected = async () => /"connected": ?true/.test((await root.run('glasscast-agent status --json')).output);
  const untilConnected = () => expect.poll(isConnected, { timeout: 30_000, interval: 200 }).toBe(true);
  /** Another process than that one, and connected. */
  async function untilReplaced(pid: string): Promise<void> {
    await expect.poll(() => unit('MainPID'), { timeout: 60_000, interval: 200 }).not.toBe(pid);
    await untilConnected();
  }
  async function streams(): Promise<void> {
    const started = await relay.rest<{ status: number }>('POST', STREAM, {});
    expect(started.status).toBeLessThan(300);
    const snapshot = async () => (await relay.rest<Snapshot>('GET', '/api/streams')).streams[0];
    await expect.poll(async () => (await snapshot())?.state, { timeout: 60_000 }).toBe('active');
    const url = (await snapshot())?.playback.hlsUrl ?? '';
    const { streams: found, complaints } = await probe(children.spawn, url);
    expect(complaints).toBe('');
    const facts = found.map(({ codec_name, width, height }) => ({ codec_name, width, height }));
    expect(facts).toContainEqual({ codec_name: 'h264', width: 1280, height: 720 });
    expect(facts).toContainEqual({ codec_name: 'aac' });
    await decodes(url);
  }
  /** A second of it, picture by picture. */
  async function decodes(url: string): Promise<void> {
    const lines: string[] = [];
    const args = ['-v', 'error', '-i', url, '-frames:v', '30', '-f', 'framemd5', '-'];
    const { code } = await children.spawn({
      ...{ name: 'ffmpeg', file: bundledFfmpeg() ?? 'ffmpeg', args, stdout: 'lines' },
      onStdoutLine: (line) => void lines.push(line),
    }).exited;
    const pictures = lines.filter((line) => line.startsWith('0,')).map((line) => line.split(',').at(-1)?.trim());
    expect([code, new Set(pictures).size]).toEqual([0, 30]);
  }
  const stopStream = () => relay.rest('DELETE', STREAM);

  it('is installed by dpkg alone, enabled and started; without settings it waits for them', async () => {
    await install('0.1.0');
    expect(await root.must('stat -c "%a %U" /etc/default/glasscast-agent')).toBe('600 root');
    expect(await root.must('systemctl is-enabled glasscast-agent')).toBe('enabled');
    expect(await unit('ActiveState')).toMatch(/^activating|^active/);
    expect(await root.must('glasscast-agent --help')).toContain('--relay-url');
    expect(await root.must('glasscast-agent --version')).toContain('0.1.0');
    expect((await root.run('glasscast-agent status')).code).toBe(1);
  });

  it('brings rules that udev understands', async () => {
    const word = await root.must('udevadm test /sys/devices/virtual/mem/null 2>&1 | grep 70-glasscast');
    expect(word).toBe('Reading rules file: /usr/lib/udev/rules.d/70-glasscast.rules');
  });

  it('is enrolled by its settings, becomes ready, and streams as a user of its own with the ffmpeg it brought', async () => {
    const { code } = await relay.rest<{ code: string }>('POST', '/api/enrolments', { email: USER });
    await root.must(`cat >>/etc/default/glasscast-agent <<END
GLASSCAST_AGENT_RELAY_URL=${relay.wsUrl}/glasses-ws
GLASSCAST_AGENT_ENROLMENT_CODE=${code}
END
systemctl restart glasscast-agent`);
    await untilConnected();
    expect(await unit('ActiveState')).toBe('active');
    expect(await unit('StatusText')).not.toBe('');
    await streams();
    const processes = (await root.must('ps -eo uid:1,args | grep /usr/lib/glasscast/ | grep -v grep')).split('\n');
    const [user] = processes[0]?.split(' ') ?? [];
    // systemd.exec(5), DynamicUser=.
    expect(Number(user)).toBeGreaterThanOrEqual(61_184);
    expect(Number(user)).toBeLessThanOrEqual(65_519);
    expect(processes).toContain(`${user} /usr/lib/glasscast/node /usr/lib/glasscast/agent.mjs run`);
    expect(processes.some((line) => line.startsWith(`${user} /usr/lib/glasscast/ffmpeg `))).toBe(true);
    expect(processes.filter((line) => !line.startsWith(`${user} `))).toEqual([]);
    expect(await root.must('stat -L -c "%u %a" /var/lib/glasscast')).toBe(`${user} 700`);
  });

  it('tells its status, its needs and its devices to who asks on the board', async () => {
    expect(await root.must('glasscast-agent status')).toContain('publishing');
    const doctor = await root.run('glasscast-agent doctor --json');
    expect(doctor.output).toContain('/usr/lib/glasscast/ffmpeg');
    expect(doctor.output).toContain('agent-token.json');
    expect(await root.must('glasscast-agent devices')).toContain('libx264');
  });

  it('is at most 2.5 by systemd-analyze security, as the running system sees it', async () => {
    const word = await root.must('systemd-analyze security --no-pager --threshold=25 glasscast-agent');
    expect(Number(/exposure level for \S+: (\d+\.\d)/.exec(word)?.[1])).toBeLessThanOrEqual(2.5);
  });

  it('comes back when it is killed, and is killed when it hangs', async () => {
    await stopStream();
    const first = await unit('MainPID');
    await root.must(`kill -KILL ${first}`);
    await untilReplaced(first);
    await root.must(`mkdir -p /run/systemd/system/glasscast-agent.service.d
      printf '[Service]\\nWatchdogSec=4\\n' >/run/systemd/system/glasscast-agent.service.d/hurry.conf
      systemctl daemon-reload && systemctl restart glasscast-agent`);
    const second = await unit('MainPID');
    await root.must(`kill -STOP ${second}`);
    await untilReplaced(second);
    await root.must('rm -r /run/systemd/system/glasscast-agent.service.d && systemctl daemon-reload');
  });

  it('is upgraded, keeps its settings and its token, and streams again', async () => {
    const before = await root.must('sha256sum </etc/default/glasscast-agent');
    await install('0.1.1');
    expect(await root.must('sha256sum </etc/default/glasscast-agent')).toBe(before);
    await untilConnected();
    await streams();
    await stopStream();
    // Again, as a flash that was cut does it.
    await install('0.1.1');
    await untilConnected();
  });

  it('boots with the agent running, also after the power was cut', async () => {
    await root.powerCut();
    await root.boot();
    await untilConnected();
  });

  it('is removed, and purged without a trace', async () => {
    await root.must('dpkg -r glasscast-agent 2>&1');
    expect(await root.must('ls /var/lib/glasscast/agent-token.json /etc/default/glasscast-agent')).not.toBe('');
    await root.must('dpkg -P glasscast-agent 2>&1; systemctl daemon-reload; rm /root/agent.deb');
    const left = await root.must("find / -xdev -name '*glasscast*' -not -path '/proc/*' -not -path '/var/log/*'");
    expect(left).toBe('');
    expect((await root.run('ps -ef | grep -v grep | grep glasscast')).output).toBe('');
  });

  it('is installed into a system that does not run, and starts with it', async () => {
    await root.powerOff();
    copyFileSync(made[0]?.file ?? '', join(root.folder, 'root/agent.deb'));
    const { code } = await children.spawn({
      ...{ name: 'dpkg', file: 'chroot', args: [root.folder, 'dpkg', '-i', '/root/agent.deb'], stdout: 'ignore' },
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
    }).exited;
    expect(code).toBe(0);
    await root.boot();
    expect(await root.must('systemctl is-enabled glasscast-agent')).toBe('enabled');
    expect(await unit('ActiveState')).toMatch(/^activ/);
  });
});
