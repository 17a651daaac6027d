/** Which version runs when a board that has updated itself is flashed again, and when that is undone: real package, launcher and apply.sh. */
import { createHash } from 'node:crypto';
import {
  chownSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openReleaseShop, type ReleaseShop } from '../../scripts/bench/release-shop.ts';
import { settle } from '../../scripts/bench/update-kills.ts';
import type { DevicePackage } from '../../scripts/package/device-package.ts';
import { canBootDebian, type DebianRoot, openDebianRoot } from '../support/debian-root.ts';
import { packageForTest } from '../support/device-packages.ts';

const applyScript = new URL('../../scripts/flash/apply.sh', import.meta.url);

/** In order: each test goes on where the one before it ended. */
describe.runIf(canBootDebian())('a board that has updated itself', () => {
  let root: DebianRoot;
  let shop: ReleaseShop;
  let made: DevicePackage[] = [];

  beforeAll(async () => {
    shop = await openReleaseShop();
    made = [
      await packageForTest({ architecture: 'amd64', version: '0.1.0' }),
      await packageForTest({ architecture: 'amd64', version: '0.1.1' }),
    ];
    root = await openDebianRoot();
  });
  afterAll(async () => {
    await root?.close();
    for (const { file } of made) rmSync(dirname(file), { recursive: true, force: true });
  });

  async function flash(version: string, model: string): Promise<unknown> {
    const folder = join(root.folder, 'var/lib/glasscast-flash');
    const files = join(folder, 'new');
    mkdirSync(join(files, 'release-keys'), { recursive: true });
    copyFileSync(applyScript, join(folder, 'apply.sh'));
    copyFileSync(made.find((each) => each.version === version)?.file ?? '', join(files, 'package.deb'));
    const settings = [
      'GLASSCAST_AGENT_RELAY_URL="ws://127.0.0.1:9/glasses-ws"',
      'GLASSCAST_AGENT_CORE_TOKEN="a-core-token-of-this-test"',
      `GLASSCAST_AGENT_MODEL_NAME="${model}"`,
    ];
    writeFileSync(join(files, 'settings'), `${settings.join('\n')}\n`);
    writeFileSync(join(files, 'release-keys/test.pem'), shop.publicKeyPem);
    writeFileSync(join(files, 'fingerprint'), `${version} ${model}\n`);
    writeFileSync(join(files, 'options'), 'id=run\ngate=none\n');
    const names = ['package.deb', 'settings', 'release-keys/test.pem', 'fingerprint', 'options'];
    const sums = names.map(
      (name) =>
        `${createHash('sha256')
          .update(readFileSync(join(files, name)))
          .digest('hex')}  ${name}\n`,
    );
    writeFileSync(join(files, 'manifest'), sums.join(''));
    return result('apply');
  }
  async function result(order: string): Promise<unknown> {
    await root.run(`sh /var/lib/glasscast-flash/apply.sh ${order}`);
    return JSON.parse(readFileSync(join(root.folder, 'var/lib/glasscast-flash/result.json'), 'utf8'));
  }
  /** Of the process that the unit runs. */
  const running = async () => (await root.run("pgrep -a -f 'agent.mjs run'")).output.split(' ').at(-2);
  const runs = (code: string) => expect.poll(running, { timeout: 20_000, interval: 200 }).toBe(code);
  const FLASHED = '/usr/lib/glasscast/agent.mjs';
  const SLOT = '/var/lib/glasscast/releases/a/agent.mjs';

  it('runs the version that came by the update', async () => {
    expect(await flash('0.1.0', 'one')).toMatchObject({ outcome: 'flashed', version: '0.1.0' });
    await runs(FLASHED);
    await root.must('systemctl stop glasscast-agent');
    const state = join(root.folder, 'var/lib/private/glasscast');
    const releasesFolder = join(state, 'releases');
    settle({ releasesFolder }, shop, { flashed: '0.1.0', version: '0.2.0' });
    const { uid, gid } = statSync(state);
    for (const name of ['', ...readdirSync(releasesFolder, { recursive: true })]) {
      chownSync(join(releasesFolder, String(name)), uid, gid);
    }
    await root.must('systemctl start glasscast-agent');
    await runs(SLOT);
  });

  it('keeps it when the same is flashed again, for that changes nothing', async () => {
    expect(await flash('0.1.0', 'one')).toMatchObject({ outcome: 'already' });
    await runs(SLOT);
  });

  it.each(['0.1.1', '0.1.0'])('runs what is flashed, %s, and after an undo what ran before', async (version) => {
    expect(await flash(version, 'two')).toMatchObject({ outcome: 'flashed', version });
    await runs(FLASHED);
    await root.must('systemctl restart glasscast-agent');
    await runs(FLASHED);
    expect(await root.must('glasscast-agent --version')).toBe(version);
    expect(await result('undo')).toMatchObject({ outcome: 'undone', version: '0.1.0' });
    await runs(SLOT);
  });
});
