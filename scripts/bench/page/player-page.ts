/**
 * The page of the benchmarks: plays `?way=…&src=…` by the player that the console shows, and keeps of each presented picture the
 * barcode's gray levels and the wall clock. Decodes nothing.
 */
import { createLivePlayer } from '../../../cloud/player/live-player.ts';

const BLOCKS = { columns: 32, rows: 2, sourceWidth: 1280, sourceHeight: 80, shrink: 4 };

const video = document.querySelector('video') as HTMLVideoElement;
const strip = document.createElement('canvas');
strip.width = BLOCKS.sourceWidth / BLOCKS.shrink;
strip.height = BLOCKS.sourceHeight / BLOCKS.shrink;
const context = strip.getContext('2d', { willReadFrequently: true }) as CanvasRenderingContext2D;
const pictures: { atMs: number; levels: number[] }[] = [];
const shownAtMs = Date.now();
let stalls = 0;

// The callback comes when the picture is handed to the compositor: the nearest to "seen" that a page can observe.
function onPicture(): void {
  const atMs = Date.now();
  video.requestVideoFrameCallback(onPicture);
  context.drawImage(video, 0, 0, BLOCKS.sourceWidth, BLOCKS.sourceHeight, 0, 0, strip.width, strip.height);
  const { data } = context.getImageData(0, 0, strip.width, strip.height);
  const block = strip.width / BLOCKS.columns;
  const levels: number[] = [];
  for (let row = 0; row < BLOCKS.rows; row += 1) {
    for (let column = 0; column < BLOCKS.columns; column += 1) {
      const x = Math.floor((column + 0.5) * block);
      const y = Math.floor((row + 0.5) * block);
      levels.push(data[(y * strip.width + x) * 4] ?? 0);
    }
  }
  pictures.push({ atMs, levels });
}
video.requestVideoFrameCallback(onPicture);
video.addEventListener('waiting', () => {
  stalls += 1;
});

const asked = new URLSearchParams(location.search);
const player = createLivePlayer(video);
player.show({ [asked.get('way') ?? '']: asked.get('src') ?? '' });

Object.assign(window, {
  take: () => ({
    ...{ pictures: pictures.splice(0), stalls, shownAtMs },
    openedAtMs: performance.timeOrigin,
    state: player.state(),
  }),
});
