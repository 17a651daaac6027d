/**
 * What must outlive the process: live inputs with their keys, videos, idempotency keys, signing keys, where webhooks go. One SQLite file
 * with mode 0600, written before a call answers. Holds no rule; media files are the recordings' business.
 */
import { chmodSync, closeSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'libsql';
import { errorText, GlasscastError } from '../../shared/errors.ts';
import { Secret } from '../../shared/secrets.ts';
import type { LiveInput, Output } from './api/live-input.ts';
import { unusable } from './data-folder.ts';
import type { Video } from './recordings/video.ts';

export interface Catalogue {
  liveInputs(): LiveInput[];
  /** @param idempotencyKey of its creation: both are written or neither. */
  saveLiveInput(input: LiveInput, idempotencyKey?: string): void;
  removeLiveInput(uid: string): void;
  videos(): Video[];
  saveVideo(video: Video): void;
  removeVideo(uid: string): void;
  /** The input that was created with this key at or after `sinceMs`. */
  inputOfKey(idempotencyKey: string, sinceMs: number): string | undefined;
  recordingWebhook(): RecordingWebhook | undefined;
  /** Undefined forgets it. */
  saveRecordingWebhook(webhook: RecordingWebhook | undefined): void;
  signingKeys(): SigningKey[];
  saveSigningKey(key: SigningKey): void;
  removeSigningKey(id: string): void;
  alertDestinations(): AlertDestination[];
  saveAlertDestination(destination: AlertDestination): void;
  removeAlertDestination(id: string): void;
  alertPolicies(): AlertPolicy[];
  saveAlertPolicy(policy: AlertPolicy): void;
  removeAlertPolicy(id: string): void;
  close(): void;
}

/** Of playback tokens. */
export interface SigningKey {
  id: string;
  createdMs: number;
  /** SPKI PEM. */
  publicKey: string;
  /** PKCS#8 PEM, of the account's own key only. */
  privateKey?: string;
}

/** Where live events may go. */
export interface AlertDestination {
  id: string;
  name: string;
  url: string;
  /** Sent with them; empty: nothing is. */
  secret: string;
  createdMs: number;
}

/** Which live events go there. */
export interface AlertPolicy {
  id: string;
  name: string;
  description: string;
  enabled: boolean;
  destinationIds: string[];
  /** Empty: all of them. */
  inputUids: string[];
  /** e.g. `live_input.connected`. Empty: all of them. */
  eventTypes: string[];
  createdMs: number;
  modifiedMs: number;
}

/** Where finished recordings are told of. */
export interface RecordingWebhook {
  notificationUrl: string;
  modifiedMs: number;
  /** Signs what is sent. */
  secret: string;
}

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS live_inputs (uid TEXT PRIMARY KEY, created_ms INTEGER NOT NULL, document TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS videos (uid TEXT PRIMARY KEY, created_ms INTEGER NOT NULL, document TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS idempotency_keys (key TEXT PRIMARY KEY, input_uid TEXT NOT NULL, created_ms INTEGER NOT NULL);
  CREATE TABLE IF NOT EXISTS webhook (id INTEGER PRIMARY KEY CHECK (id = 1), document TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS signing_keys (id TEXT PRIMARY KEY, document TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS alert_destinations (id TEXT PRIMARY KEY, document TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS alert_policies (id TEXT PRIMARY KEY, document TEXT NOT NULL);
`;

type StoredOutput = Omit<Output, 'streamKey'> & { streamKey: string };
type StoredInput = Omit<LiveInput, 'publishKey' | 'playbackKey' | 'webRtcKey' | 'outputs'> & {
  publishKey: string;
  playbackKey: string;
  webRtcKey: string;
  outputs: StoredOutput[];
};

/**
 * Opens or makes the file in `dataDir`, which is made when missing (mode 0700).
 * @throws GlasscastError INVALID_CONFIG: it cannot be written, or is no catalogue; later from a read, when a record cannot be read
 */
export function openCatalogue({ dataDir }: { dataDir: string }): Catalogue {
  try {
    return catalogueOf(openDatabase(dataDir));
  } catch (cause) {
    throw unusable(dataDir, errorText(cause), cause);
  }
}

function openDatabase(dataDir: string): Database.Database {
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const file = join(dataDir, 'catalogue.db');
  // SQLite gives its journal the mode of the main file, so the mode has to be right before the first write.
  closeSync(openSync(file, 'a', 0o600));
  chmodSync(file, 0o600);
  const database = new Database(file);
  database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;');
  database.exec(SCHEMA);
  return database;
}

function catalogueOf(database: Database.Database): Catalogue {
  const sql = (text: string) => database.prepare<unknown[]>(text);
  const inputs = {
    all: sql('SELECT document FROM live_inputs ORDER BY created_ms'),
    save: sql('INSERT OR REPLACE INTO live_inputs (uid, created_ms, document) VALUES (?, ?, ?)'),
    remove: sql('DELETE FROM live_inputs WHERE uid = ?'),
  };
  const videos = {
    all: sql('SELECT document FROM videos ORDER BY created_ms'),
    save: sql('INSERT OR REPLACE INTO videos (uid, created_ms, document) VALUES (?, ?, ?)'),
    remove: sql('DELETE FROM videos WHERE uid = ?'),
  };
  const keys = {
    find: sql('SELECT input_uid FROM idempotency_keys WHERE key = ? AND created_ms >= ?'),
    save: sql('INSERT OR REPLACE INTO idempotency_keys (key, input_uid, created_ms) VALUES (?, ?, ?)'),
    forget: sql('DELETE FROM idempotency_keys WHERE created_ms < ?'),
  };
  const webhook = {
    find: sql('SELECT document FROM webhook'),
    save: sql('INSERT OR REPLACE INTO webhook (id, document) VALUES (1, ?)'),
    remove: sql('DELETE FROM webhook'),
  };
  const [signingKeys, destinations, policies] = [
    documents<SigningKey>(database, 'signing_keys'),
    documents<AlertDestination>(database, 'alert_destinations'),
    documents<AlertPolicy>(database, 'alert_policies'),
  ];
  /** Not the library's own: where SQLite has rolled back by itself, as on a full disk, that one hides why. */
  function together(write: () => void): void {
    database.exec('BEGIN IMMEDIATE');
    try {
      write();
      database.exec('COMMIT');
    } catch (error) {
      if (database.inTransaction) database.exec('ROLLBACK');
      throw error;
    }
  }
  function saveInput(input: LiveInput, key: string | undefined): void {
    together(() => {
      inputs.save.run(input.uid, input.createdMs, JSON.stringify(toStored(input)));
      if (key) keys.save.run(key, input.uid, input.createdMs);
    });
  }
  let isOpen = true;
  return {
    liveInputs: () => inputs.all.all().map((row) => fromStored(documentOf<StoredInput>(row))),
    saveLiveInput: saveInput,
    removeLiveInput: (uid) => void inputs.remove.run(uid),
    videos: () => videos.all.all().map((row) => documentOf<Video>(row)),
    saveVideo: (video) => void videos.save.run(video.uid, video.createdMs, JSON.stringify(video)),
    removeVideo: (uid) => void videos.remove.run(uid),
    inputOfKey(key, sinceMs) {
      keys.forget.run(sinceMs);
      return (keys.find.get(key, sinceMs) as { input_uid: string } | undefined)?.input_uid;
    },
    recordingWebhook() {
      const found = webhook.find.get();
      return found === undefined ? undefined : documentOf<RecordingWebhook>(found);
    },
    saveRecordingWebhook(wanted) {
      if (wanted) webhook.save.run(JSON.stringify(wanted));
      else webhook.remove.run();
    },
    signingKeys: signingKeys.all,
    saveSigningKey: signingKeys.save,
    removeSigningKey: signingKeys.remove,
    alertDestinations: destinations.all,
    saveAlertDestination: destinations.save,
    removeAlertDestination: destinations.remove,
    alertPolicies: policies.all,
    saveAlertPolicy: policies.save,
    removeAlertPolicy: policies.remove,
    close() {
      if (isOpen) database.close();
      isOpen = false;
    },
  };
}

/** A table of small things that are only ever read all at once. */
function documents<T extends { id: string }>(database: Database.Database, table: string) {
  const all = database.prepare<unknown[]>(`SELECT document FROM ${table} ORDER BY rowid`);
  const save = database.prepare<unknown[]>(
    `INSERT INTO ${table} (id, document) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET document = excluded.document`,
  );
  const remove = database.prepare<unknown[]>(`DELETE FROM ${table} WHERE id = ?`);
  return {
    all: (): T[] => all.all().map((row) => documentOf<T>(row)),
    save: (document: T): void => void save.run(document.id, JSON.stringify(document)),
    remove: (id: string): void => void remove.run(id),
  };
}

function documentOf<T>(row: unknown): T {
  try {
    return JSON.parse((row as { document: string }).document) as T;
  } catch (cause) {
    // Its own words would quote what may be a key.
    throw new GlasscastError('INVALID_CONFIG', {
      reason: 'a record of catalogue.db in the data folder cannot be read; put back a copy, or move the file away',
      cause,
    });
  }
}

function toStored({ publishKey, playbackKey, webRtcKey, outputs, ...rest }: LiveInput): StoredInput {
  return {
    ...rest,
    publishKey: publishKey.reveal(),
    playbackKey: playbackKey.reveal(),
    webRtcKey: webRtcKey.reveal(),
    outputs: outputs.map((output) => ({ ...output, streamKey: output.streamKey.reveal() })),
  };
}

function fromStored({ publishKey, playbackKey, webRtcKey, outputs, ...rest }: StoredInput): LiveInput {
  return {
    ...rest,
    publishKey: new Secret(publishKey),
    playbackKey: new Secret(playbackKey),
    webRtcKey: new Secret(webRtcKey),
    outputs: outputs.map((output) => ({ ...output, streamKey: new Secret(output.streamKey) })),
  };
}
