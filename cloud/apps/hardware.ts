/** Whether glasses have what an app requires, judged by their capabilities (`has…` flags, as MentraOS publishes them). */
import type { RegisteredApp } from '../store/records.ts';
import type { hardwareTypes } from './app-catalog.ts';

const FLAG_OF: Readonly<Record<(typeof hardwareTypes)[number], string>> = {
  CAMERA: 'hasCamera',
  DISPLAY: 'hasDisplay',
  MICROPHONE: 'hasMicrophone',
  SPEAKER: 'hasSpeaker',
  IMU: 'hasIMU',
  BUTTON: 'hasButton',
  LIGHT: 'hasLight',
  WIFI: 'hasWifi',
};

/**
 * The REQUIRED types that are not there.
 * @param capabilities null: the glasses are not known, so nothing is held against them.
 */
export function missingHardware(
  { hardwareRequirements = [] }: Pick<RegisteredApp, 'hardwareRequirements'>,
  capabilities: Readonly<Record<string, unknown>> | null,
): string[] {
  if (!capabilities) return [];
  const flags: Readonly<Record<string, string>> = FLAG_OF;
  return hardwareRequirements
    .filter(({ type, level }) => level === 'REQUIRED' && capabilities[flags[type] ?? ''] !== true)
    .map(({ type }) => type);
}
