/**
 * The wall clock in the picture: seven-segment digits drawn with boxes, so that no font is needed on the device.
 * Owns the drawing only; the time comes from the frames' own time stamps (ms since the epoch given here).
 */

export interface BurnedClockOptions {
  widthPx: number;
  heightPx: number;
  /** What time stamp 0 of the pictures means, ms since 1970. Shown as UTC. */
  epochMs: number;
}

const DAY_MS = 86_400_000;
/** How long the white square is seen, and the beep heard, at the start of each second. */
const MARK_S = 0.1;

/** Which of the digits 0–9 light a segment. */
const SEGMENTS = {
  top: [0, 2, 3, 5, 6, 7, 8, 9],
  upperRight: [0, 1, 2, 3, 4, 7, 8, 9],
  lowerRight: [0, 1, 3, 4, 5, 6, 7, 8, 9],
  bottom: [0, 2, 3, 5, 6, 8, 9],
  lowerLeft: [0, 2, 6, 8],
  upperLeft: [0, 4, 5, 6, 8, 9],
  middle: [2, 3, 4, 5, 6, 8, 9],
} as const;
type Segment = keyof typeof SEGMENTS;

/** Hours, minutes, seconds, tenths: seconds that one step of the digit lasts, how many steps it has, columns to its left. */
const DIGITS = [
  { stepS: 36_000, steps: 2.4, column: 0 },
  { stepS: 3_600, steps: undefined, column: 1 },
  { stepS: 600, steps: 6, column: 2.5 },
  { stepS: 60, steps: 10, column: 3.5 },
  { stepS: 10, steps: 6, column: 5 },
  { stepS: 1, steps: 10, column: 6 },
  { stepS: 0.1, steps: 10, column: 7.5 },
] as const;
const COLUMNS = 8.5;

/** Seconds of the day (UTC) at time stamp 0, as the filters' expressions add them to `t`. */
export function secondsOfDay(epochMs: number): string {
  return ((epochMs % DAY_MS) / 1000).toFixed(3);
}

/** True during the first 100 ms of each second of the wall clock: an expression for `enable=`. */
export function secondMark(epochMs: number): string {
  return `lt(mod(t+${secondsOfDay(epochMs)},1),${MARK_S})`;
}

/** Filters for the end of the picture's chain, after its time stamps have been set. */
export function burnedClock({ widthPx, heightPx, epochMs }: BurnedClockOptions): string[] {
  const cellPx = Math.floor(Math.min(widthPx / (COLUMNS + 2), heightPx / 7));
  const linePx = Math.max(2, Math.floor(cellPx / 8));
  const leftPx = Math.floor((widthPx - COLUMNS * cellPx) / 2);
  const topPx = heightPx - Math.floor(cellPx * 1.8);
  const digits = DIGITS.flatMap(({ stepS, steps, column }) => {
    const value = digitExpression(stepS, steps, secondsOfDay(epochMs));
    const xPx = leftPx + Math.floor(column * cellPx);
    return (Object.keys(SEGMENTS) as Segment[]).map((segment) => {
      const [x, y, w, h] = segmentBox(segment, xPx, topPx, cellPx, linePx);
      return box(x, y, w, h, 'white', `mod(floor(${mask(segment)}/pow(2,${value})),2)`);
    });
  });
  const panel = box(leftPx - cellPx / 2, topPx - cellPx / 4, COLUMNS * cellPx + cellPx, cellPx * 1.9, 'black');
  const flash = box(widthPx - cellPx * 1.5, cellPx / 2, cellPx, cellPx, 'white', secondMark(epochMs));
  return [panel, ...digits, flash];
}

function digitExpression(stepS: number, steps: number | undefined, offsetS: string): string {
  // The units of the hours have no period of their own: 0–9, 0–9, 0–3.
  if (steps === undefined) return `floor(mod(mod(t+${offsetS},86400)/3600,10))`;
  return `floor(mod((t+${offsetS})/${stepS},${steps}))`;
}

function mask(segment: Segment): number {
  return SEGMENTS[segment].reduce((bits: number, digit) => bits + 2 ** digit, 0);
}

function segmentBox(segment: Segment, x: number, y: number, cell: number, line: number) {
  const widthPx = Math.floor(cell * 0.7);
  const halfPx = Math.floor(cell * 0.65);
  switch (segment) {
    case 'top':
      return [x, y, widthPx, line] as const;
    case 'middle':
      return [x, y + halfPx, widthPx, line] as const;
    case 'bottom':
      return [x, y + 2 * halfPx, widthPx, line] as const;
    case 'upperLeft':
      return [x, y, line, halfPx] as const;
    case 'upperRight':
      return [x + widthPx - line, y, line, halfPx] as const;
    case 'lowerLeft':
      return [x, y + halfPx, line, halfPx + line] as const;
    case 'lowerRight':
      return [x + widthPx - line, y + halfPx, line, halfPx + line] as const;
    default:
      return segment satisfies never;
  }
}

function box(x: number, y: number, w: number, h: number, color: string, enable?: string): string {
  const place = `x=${Math.floor(x)}:y=${Math.floor(y)}:w=${Math.floor(w)}:h=${Math.floor(h)}`;
  return `drawbox=${place}:color=${color}:t=fill${enable ? `:enable='${enable}'` : ''}`;
}
