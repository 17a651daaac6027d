/** A benchmark that measures until it is interrupted, and takes a moment to tidy up. A program for tests of its frame. */
import { runBench } from '../../scripts/bench/program.ts';

const say = (line: string) => void process.stdout.write(`${line}\n`);

await runBench({
  ...{ name: 'slow', about: 'Waits.', defaultRuns: 1, defaultSeconds: 1 },
  async measure({ clock, defer }) {
    defer(async () => {
      say('tidying');
      await clock.sleep(300);
      say('tidied');
    });
    say('measuring');
    await clock.sleep(60_000);
    return { goals: [], method: {} };
  },
});
