/**
 * Outputs of one live input, made at a provider that cannot repeat a creation safely: after an unclear failure the output is
 * looked for before it is asked for again, and a second one that turns up later is deleted. Decides nothing about limits.
 */
import type { Clock } from '../../shared/clock.ts';
import { asGlasscastError, GlasscastError } from '../../shared/errors.ts';
import type { PublishUrl } from '../../shared/rtmp/publish-url.ts';
import { readableDestination } from './destination-guard.ts';
import type { LiveInputOutput, LiveInputs } from './live-inputs.ts';

export interface OutputCreation {
  /** @throws GlasscastError PROVIDER_* */
  create(target: PublishUrl): Promise<LiveInputOutput>;
  /** Something that nobody knows of may still turn up. */
  isInDoubt(): boolean;
  /** Of these, which nobody here made knowingly, the ones that an unclear creation left behind. */
  surplus(unknown: readonly LiveInputOutput[]): LiveInputOutput[];
}

export interface OutputCreationOptions {
  inputs: Pick<LiveInputs, 'createOutput' | 'outputs'>;
  liveInputUid: string;
  /** An earlier process may have asked for these. */
  unclear: readonly PublishUrl[];
  /** Belongs to an output of ours already. */
  isKnown: (outputUid: string) => boolean;
  clock: Clock;
}

/** A creation that was never answered may come to something this much later; the clean-up of live inputs waits as long. */
const DOUBT_MS = 60_000;

export function createOutputCreation(options: OutputCreationOptions): OutputCreation {
  const { inputs, liveInputUid, unclear, isKnown, clock } = options;
  /** Destinations whose creation had no clear outcome, and until when they are looked out for. */
  const doubts = new Map<string, number>();
  const running = new Set<string>();
  const doubt = (target: PublishUrl) => doubts.set(identityOf(target), clock.monotonicMs() + DOUBT_MS);
  for (const target of unclear) doubt(target);

  async function find(target: PublishUrl): Promise<LiveInputOutput | undefined> {
    const found = await inputs.outputs(liveInputUid);
    return found.find((output) => !isKnown(output.uid) && isOf(output, identityOf(target)));
  }
  async function attempt(target: PublishUrl): Promise<LiveInputOutput | GlasscastError> {
    try {
      return await inputs.createOutput(liveInputUid, { url: target.tcUrl, streamKey: target.streamKey });
    } catch (thrown) {
      const error = asGlasscastError(thrown);
      if (error.code === 'LIVE_INPUT_NOT_FOUND') {
        throw new GlasscastError('PROVIDER_FAILED', { reason: 'the live input is gone', cause: error });
      }
      // Everything else was said to have failed; these two may have come to something all the same.
      if (error.code !== 'PROVIDER_UNREACHABLE' && error.code !== 'PROVIDER_FAILED') throw error;
      doubt(target);
      const found = await find(target).catch(() => {
        throw error;
      });
      return found ?? error;
    }
  }

  return {
    async create(target) {
      running.add(identityOf(target));
      try {
        // One too many, if this look fails, is found later.
        const earlier = doubts.has(identityOf(target)) && (await find(target).catch(() => undefined));
        if (earlier) return earlier;
        const first = await attempt(target);
        if (!(first instanceof GlasscastError)) return first;
        const second = await attempt(target);
        if (second instanceof GlasscastError) throw second;
        return second;
      } finally {
        running.delete(identityOf(target));
      }
    },
    isInDoubt() {
      for (const [destination, untilMs] of doubts) if (untilMs <= clock.monotonicMs()) doubts.delete(destination);
      return doubts.size > 0;
    },
    surplus: (unknown) =>
      unknown.filter((output) =>
        [...doubts.keys()].some((destination) => !running.has(destination) && isOf(output, destination)),
      ),
  };
}

export function isSameDestination(a: PublishUrl | undefined, b: PublishUrl | undefined): boolean {
  return a !== undefined && b !== undefined && identityOf(a) === identityOf(b);
}

/** One text per destination, however it is spelled; holds the key. */
function identityOf({ secure, host, port, app, streamKey }: PublishUrl): string {
  return `${secure} ${host.toLowerCase()} ${port} ${app}/${streamKey.reveal()}`;
}

function isOf({ url, streamKey }: LiveInputOutput, identity: string): boolean {
  const target = readableDestination(`${url.replace(/\/+$/, '')}/${streamKey.reveal()}`);
  return target !== undefined && identityOf(target) === identity;
}
