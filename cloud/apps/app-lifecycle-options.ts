/** What the life of apps needs around it. */
import type { Clock } from '../../shared/clock.ts';
import type { Log } from '../../shared/log.ts';
import type { ToGlasses } from '../../shared/protocol/glasses-messages.ts';
import type { AppSessionRecord } from '../store/records.ts';
import type { Collection } from '../store/store.ts';
import type { AppCatalog } from './app-catalog.ts';
import type { AppGlasses, AppStreams } from './app-session.ts';
import type { AppWebhook } from './app-webhook.ts';

export interface AppLifecycleOptions {
  catalog: Pick<AppCatalog, 'get' | 'list' | 'verify'>;
  records: Collection<AppSessionRecord>;
  webhook: AppWebhook;
  streams: AppStreams & { drop(userId: string, viewerId: string): void };
  /**
   * The glasses of a user; opens the user's session when there is none.
   * @param areExpected they may come back by themselves, as after a restart of the relay.
   */
  glasses: (userId: string, areExpected?: boolean) => AppGlasses;
  /** Lost when they are away. */
  toGlasses: (userId: string, message: ToGlasses) => void;
  /** Of the user's glasses; null while they are not known. */
  capabilities: (userId: string) => Readonly<Record<string, unknown>> | null;
  /** The same each time for the same user and app. Default: both with a hyphen between, which anybody can guess. */
  sessionIdOf?: (userId: string, packageName: string) => string;
  /** Where apps find us: absolute, ending in `/app-ws`. */
  appSocketUrl: () => string;
  /** This process has the user. Default: always. */
  isHere?: (userId: string) => boolean;
  clock: Clock;
  log: Log;
  /** For a lost socket to come back. Default 5000. */
  graceMs?: number;
  /** The same after a restart of the relay. Default 8000: the SDK tries at about 1 s and 3 s and gives up at 6 s. */
  resumeGraceMs?: number;
  /** From the webhook's good answer to the socket. Default 10000. */
  connectTimeoutMs?: number;
  onChange: (userId: string) => void;
  /** All that there was to say of this user's apps is in the store. */
  onSaved?: (userId: string) => void;
}
