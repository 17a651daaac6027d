/** How closely the glasses' phone follows its location: MentraOS' names, of which the closest wanted one counts. Pure. */

/** From the least to the most battery. */
const TIERS: readonly string[] = [
  'reduced',
  'threeKilometers',
  'kilometer',
  'standard',
  'hundredMeters',
  'tenMeters',
  'high',
  'realtime',
];

/** What a phone does when nobody asks. */
export const IDLE_TIER = 'reduced';

/** Names that are not MentraOS' count as `standard`. */
export function closestTier(wanted: readonly string[]): string {
  const ranks = wanted.map((name) => {
    const rank = TIERS.indexOf(name);
    return rank < 0 ? TIERS.indexOf('standard') : rank;
  });
  return TIERS[Math.max(0, ...ranks)] ?? IDLE_TIER;
}
