/**
 * Which of the ways to make a picture is used: the first that works, and what gives way to what, told each time.
 * Opens nothing.
 */
import type { GlasscastError } from '../../shared/errors.ts';
import type { StreamNotice } from '../../shared/protocol/glasses-messages.ts';
import type { PictureQuality } from '../../shared/stream.ts';
import type { PictureWay } from './picture.ts';

export interface WayChoiceOptions {
  /** As asked for. */
  quality: PictureQuality;
  /** Best first, at least one. */
  findWays: () => Promise<readonly PictureWay[]>;
  onNotice: (notice: StreamNotice) => void;
}

export interface WayChoice {
  /** Devices come and go: asks again what ways there are. Rejects as `findWays` does. */
  look(): Promise<void>;
  /** For a picture of this quality. Undefined: there is none at all. */
  now(quality: PictureQuality): PictureWay | undefined;
  /** Gives way to the next, where there is one. */
  giveWay(cause: GlasscastError): void;
  readonly hasOther: boolean;
  /** What is wanted cannot be made: told once. */
  tellFixed(): void;
}

export function createWayChoice({ quality: asked, findWays, onNotice }: WayChoiceOptions): WayChoice {
  let ways: readonly PictureWay[] = [];
  let index = 0;
  let isFixedTold = false;
  const wayAt = (at: number) => ways[at % ways.length];

  function tellTakeOver(from: PictureWay | undefined, to: PictureWay | undefined, why: string): void {
    const isSameEncoder = from?.encoder === to?.encoder;
    const nameOf = (way: PictureWay | undefined) =>
      isSameEncoder && way?.captureName ? `${way.encoder} from ${way.captureName}` : way?.encoder;
    const text = `${nameOf(to)} takes over from ${nameOf(from)}: ${why}`.slice(0, 500);
    onNotice({ code: 'ENCODER_CHANGED', text });
  }

  return {
    async look() {
      ways = await findWays();
    },
    now(quality) {
      const way = wayAt(index);
      const other = ways.findIndex(({ fixed }) => !fixed);
      if (!way?.fixed || quality === asked || other < 0) return way;
      // What a camera makes itself cannot be made smaller: then, and from then on, an encoder of ours has to do.
      index = other;
      tellTakeOver(way, ways[other], 'the picture is to be another than the camera makes');
      return ways[other];
    },
    giveWay({ message }) {
      if (ways.length < 2) return;
      tellTakeOver(wayAt(index), wayAt(index + 1), message);
      index += 1;
    },
    get hasOther() {
      return ways.length > 1;
    },
    tellFixed() {
      if (isFixedTold) return;
      isFixedTold = true;
      const text = 'The picture stays as the camera makes it: it has no mode that could be made smaller here';
      onNotice({ code: 'SETTING_UNAVAILABLE', text });
    },
  };
}
