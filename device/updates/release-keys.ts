/** The public keys whose releases are trusted on this board: the PEM files of one folder, which is root's. */
import type { KeyObject } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { errorText } from '../../shared/errors.ts';
import { releaseKeyOf } from '../../shared/release.ts';

const MAX_KEYS = 20;
const MAX_KEY_BYTES = 8_192;

export interface ReleaseKeys {
  keys: KeyObject[];
  /** One line for each file that is no key; it stands in nobody's way. */
  trouble: string[];
}

/** A folder that is not there holds no keys. Never throws. */
export function readReleaseKeys(folder: string): ReleaseKeys {
  const keys: KeyObject[] = [];
  const trouble: string[] = [];
  for (const name of namesIn(folder, trouble)) {
    const file = join(folder, name);
    try {
      const stat = statSync(file);
      if (!stat.isFile() || stat.size > MAX_KEY_BYTES) throw new Error('is no key file');
      keys.push(releaseKeyOf(readFileSync(file, 'utf8')));
    } catch (error) {
      trouble.push(`${file}: ${errorText(error)}`);
    }
  }
  return { keys, trouble };
}

function namesIn(folder: string, trouble: string[]): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => name.endsWith('.pem'))
      .sort()
      .slice(0, MAX_KEYS);
  } catch (error) {
    const isMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    if (!isMissing) trouble.push(`${folder}: ${errorText(error)}`);
    return [];
  }
}
