/**
 * What must outlive a process: registered apps, the clean-up ledger, and small named values such as the token secret.
 * Asynchronous, so that a networked store fits the same interface; one test suite serves every implementation.
 */

export interface AppPermission {
  /** MICROPHONE, CAMERA, ALL, … as MentraOS names them. */
  type: string;
  description?: string | undefined;
}

export type AppType = 'standard' | 'background' | 'system_dashboard';

export interface RegisteredApp {
  packageName: string;
  /** Base of the app's own HTTP server, no trailing slash; absent for built-in apps, which have no webhook. */
  publicUrl?: string | undefined;
  /** Hex SHA-256; the key itself is never stored. */
  hashedApiKey: string;
  permissions: AppPermission[];
  appType: AppType;
  /** Sent in the acknowledgement of the app's connection. */
  settings: Record<string, unknown>[];
}

/** One live input that exists, or may exist, at the provider. */
export interface LedgerEntry {
  streamId: string;
  /** Absent while the creation is under way, or when a crash hid its outcome. */
  liveInputUid?: string | undefined;
  /** True once it has to go. */
  doomed: boolean;
  keepRecordings: boolean;
  createdAtMs: number;
}

export interface Store {
  apps(): Promise<RegisteredApp[]>;
  app(packageName: string): Promise<RegisteredApp | undefined>;
  putApp(app: RegisteredApp): Promise<void>;
  /** True when there was one. */
  deleteApp(packageName: string): Promise<boolean>;

  ledger(): Promise<LedgerEntry[]>;
  putLedgerEntry(entry: LedgerEntry): Promise<void>;
  deleteLedgerEntry(streamId: string): Promise<void>;

  value(name: string): Promise<string | undefined>;
  putValue(name: string, value: string): Promise<void>;

  close(): Promise<void>;
}
