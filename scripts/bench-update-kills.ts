/**
 * `npm run bench:update-kills`: the agent's update is cut at random places of each of its steps, by SIGKILL to every process of
 * the board. How many of so many come back and stream, to the real local Stream, and as which version.
 */

import { createRandom } from '../device/simulator/timeline.ts';
import type { FlvTag } from '../shared/rtmp/flv.ts';
import { goal, summary } from './bench/measuring.ts';
import { type Bench, type BenchReport, runBench } from './bench/program.ts';
import { openReleaseShop } from './bench/release-shop.ts';
import { createLiveInput } from './bench/stream-process.ts';
import { drawKills, type KillResult, type KillWorld, killUpdate, updatePhases } from './bench/update-kills.ts';
import { startMedia } from './bench/world.ts';

const method = {
  fault:
    'SIGSTOP, then SIGKILL, to launch, launcher, agent and all below them; files stay as the kernel has them (a lost page cache: test/unit/release-slots.test.ts)',
  phases:
    'download: at a random byte; unpack: 0 to 60 ms after the last byte; mark: 0 to 8 ms after the record is touched; switch: 0 to 350 ms after the agent says so; trial: 0 to 500 ms after the trial is on record; confirm: 0 to 1300 ms after the hello of the new version',
  record: 'what slots.json said when all processes were gone',
  booted: 'launch is started again, and its agent says hello to the relay within 30 s',
  streamed:
    'START then; a key frame passes on to the local Stream within 30 s. pictureMs counts from the start of launch',
};

/** Where the tap sees a publisher: one stream at a time. */
async function openIngest(bench: Bench): Promise<KillWorld['ingest']> {
  const media = await startMedia(bench);
  const isKeyFrame = ({ kind, body }: FlvTag) => kind === 'video' && body[0] === 0x17 && body[1] === 1;
  return {
    async openUrl() {
      const input = await createLiveInput(media.stream, { mode: 'off' });
      return media.publishUrl(input.publishKey.reveal());
    },
    untilKeyFrame: () =>
      new Promise((resolve) => {
        media.listeners.onTag = (tag) => isKeyFrame(tag) && resolve();
      }),
  };
}

const textOf = ({ phase, moment, record, ran, booted, streamed, trouble }: KillResult) =>
  `${phase} at ${moment.toFixed(2)}: ${record}, ${ran} ${booted ? 'booted' : 'DID NOT BOOT'}, ${streamed ? 'streamed' : 'DID NOT STREAM'}${trouble ? ` (${trouble})` : ''}`;

async function measure(bench: Bench): Promise<BenchReport> {
  const { clock, spawn, folder, note } = bench;
  const kills = drawKills(Number(bench.options.kills), createRandom(Number(bench.options.seed)));
  const ffmpegFile = bench.ffmpeg.file;
  const ingest = await openIngest(bench);
  const world: KillWorld = { clock, spawn, shop: await openReleaseShop(), ffmpegFile, folder, ingest, onLine: note };
  const results: KillResult[] = [];
  for (const kill of kills) {
    bench.signal.throwIfAborted();
    const result = await killUpdate(world, kill);
    results.push(result);
    bench.progress(`${results.length} of ${kills.length}, ${textOf(result)}`);
  }
  const count = (isSo: (result: KillResult) => boolean) => results.filter(isSo).length;
  const lost = (isSo: (result: KillResult) => boolean) => results.length - count(isSo);
  return {
    goals: [
      goal(
        'updates cut after which the agent did not boot',
        lost(({ booted }) => booted),
        0,
        'of all',
      ),
      goal(
        'updates cut after which it did not stream',
        lost(({ streamed }) => streamed),
        0,
        'of all',
      ),
      goal(
        'updates cut that came back as another version than the record says',
        lost(({ ran, expected }) => ran === expected),
        0,
        'of all',
      ),
    ],
    cuts: results.length,
    booted: count(({ booted }) => booted),
    streamed: count(({ streamed }) => streamed),
    ran: { old: count(({ ran }) => ran === 'old'), new: count(({ ran }) => ran === 'new') },
    phases: Object.fromEntries(
      updatePhases.map((phase) => [
        phase,
        {
          cuts: count((result) => result.phase === phase),
          streamed: count((result) => result.phase === phase && result.streamed),
          old: count((result) => result.phase === phase && result.ran === 'old'),
          new: count((result) => result.phase === phase && result.ran === 'new'),
        },
      ]),
    ),
    pictureMs: summary(results.flatMap(({ pictureMs }) => pictureMs ?? [])),
    each: results,
    method,
  };
}

await runBench({
  name: 'bench:update-kills',
  about: 'An update of the agent is cut at random places: how many of so many come back and stream.',
  defaultRuns: 1,
  defaultSeconds: 1,
  options: [
    { name: 'kills', default: '50', help: 'how many updates are cut' },
    { name: 'seed', default: '1', help: 'of where' },
  ],
  measure,
});
