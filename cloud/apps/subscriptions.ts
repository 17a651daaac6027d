/**
 * What one app wants to hear of the glasses, and what of it its permissions allow. Pure. A list replaces the one before,
 * an empty one too: an SDK that comes back sends its list again by itself. The permission map is that of MentraOS.
 */
import type { Subscription } from '../../shared/protocol/app-messages.ts';
import type { GlassesEvent } from '../glasses/user-session.ts';
import type { AppPermission } from '../store/records.ts';

export interface Rejection {
  stream: string;
  requiredPermission: string;
  message: string;
}

export interface Subscriptions {
  /** Takes the whole list, without what the permissions forbid. @returns what they forbid. */
  replace(wanted: readonly Subscription[]): Rejection[];
  /** Other permissions: the list is judged anew by them. */
  permit(permissions: readonly AppPermission[]): void;
  /** The names under which this app gets an event; none: not at all. */
  namesFor(event: GlassesEvent): string[];
  /** How closely the location is wanted, in MentraOS' words; undefined: not at all. */
  locationTier(): string | undefined;
}

const REQUIRED: Readonly<Record<string, string>> = {
  rtmp_stream_status: 'CAMERA',
  stream_status: 'CAMERA',
  managed_stream_status: 'CAMERA',
  photo_response: 'CAMERA',
  photo_taken: 'CAMERA',
  audio_chunk: 'MICROPHONE',
  transcription: 'MICROPHONE',
  local_transcription: 'MICROPHONE',
  translation: 'MICROPHONE',
  VAD: 'MICROPHONE',
  location_update: 'LOCATION',
  location_stream: 'LOCATION',
  calendar_event: 'CALENDAR',
  phone_notification: 'READ_NOTIFICATIONS',
  phone_notification_dismissed: 'READ_NOTIFICATIONS',
};

/** Granted by name, or by one that says more. */
const IMPLIED_BY: Readonly<Record<string, readonly string[]>> = {
  LOCATION: ['BACKGROUND_LOCATION'],
  READ_NOTIFICATIONS: ['NOTIFICATIONS'],
};

/** Whoever subscribes to one of these gets that stream. */
const OTHER_NAMES: ReadonlyMap<string, string> = new Map([
  ['location_update', 'location_stream'],
  ['stream_status', 'rtmp_stream_status'],
]);

/** Everything that the permissions allow. */
const WILDCARDS = ['all', '*'];

/** The permission that a stream needs and the app lacks. */
export function missingPermission(stream: string, permissions: readonly AppPermission[]): string | undefined {
  // `transcription:en-US?hints=…` is a kind of `transcription`.
  const [base = stream] = stream.split(/[:?]/, 1);
  const required = Object.hasOwn(REQUIRED, base) ? REQUIRED[base] : undefined;
  if (required === undefined) return undefined;
  const enough = [required, 'ALL', ...(IMPLIED_BY[required] ?? [])];
  return permissions.some(({ type }) => enough.includes(type)) ? undefined : required;
}

export function createSubscriptions(granted: readonly AppPermission[]): Subscriptions {
  let permissions = granted;
  let wanted = new Map<string, Subscription>();
  const allows = (stream: string) => missingPermission(stream, permissions) === undefined;
  const wants = (stream: string) => wanted.has(stream) && allows(stream);

  return {
    replace(list) {
      wanted = new Map(list.map((entry) => [entry.stream, entry]));
      return [...wanted.keys()].flatMap((stream) => {
        const requiredPermission = missingPermission(stream, permissions);
        if (requiredPermission === undefined) return [];
        return [{ stream, requiredPermission, message: `${stream} needs the permission ${requiredPermission}` }];
      });
    },
    permit(others) {
      permissions = others;
    },
    namesFor({ streamType, data }) {
      if (!allows(streamType)) return [];
      const names = [OTHER_NAMES.get(streamType) ?? streamType, streamType, ...WILDCARDS];
      const isWanted = names.some((name) => wanted.has(name));
      // A stream's status has two names; its subscribers listen under the one they chose.
      const isOlder = streamType === 'stream_status' && !wanted.has('stream_status');
      const name = isOlder ? 'rtmp_stream_status' : streamType;
      // Handlers for one gesture listen under a name of its own.
      const gesture = streamType === 'touch_event' ? `touch_event:${String(data.gesture_name)}` : '';
      return [...(isWanted ? [name] : []), ...(wants(gesture) ? [gesture] : [])];
    },
    locationTier() {
      if (!allows('location_update')) return undefined;
      const { rate } = wanted.get('location_stream') ?? {};
      return rate ?? (wants('location_stream') || wants('location_update') ? 'standard' : undefined);
    },
  };
}
