/**
 * The apps that may connect: from a JSON file, from the operator's REST, and the built-in console.
 * Owns their validation; never keeps an API key, only its hash. Reads the store once and when it is told to: an app that
 * comes back needs no store.
 */
import * as z from 'zod';
import { GlasscastError } from '../../shared/errors.ts';
import { hashMatches, hashSecret } from '../access/credentials.ts';
import type { RegisteredApp } from '../store/records.ts';
import type { Store } from '../store/store.ts';

/** The operator's own page and REST calls act as this app; it has no webhook and no socket. */
export const CONSOLE_APP = 'glasscast.console';

export const permissionTypes = [
  'MICROPHONE',
  'LOCATION',
  'BACKGROUND_LOCATION',
  'CALENDAR',
  'CAMERA',
  'NOTIFICATIONS',
  'READ_NOTIFICATIONS',
  'POST_NOTIFICATIONS',
  'ALL',
] as const;

export const hardwareTypes = ['CAMERA', 'DISPLAY', 'MICROPHONE', 'SPEAKER', 'IMU', 'BUTTON', 'LIGHT', 'WIFI'] as const;

const httpUrl = z
  .url({ protocol: /^https?$/ })
  .max(2000)
  .transform((url) => url.replace(/\/+$/, ''));

/** An app as an operator writes it. Give `apiKey` or `hashedApiKey`. */
export const appRegistration = z
  .strictObject({
    publicUrl: httpUrl,
    apiKey: z.string().min(1).max(500).optional(),
    hashedApiKey: z
      .string()
      .regex(/^[0-9a-f]{64}$/i, 'expected hex SHA-256')
      .optional(),
    permissions: z
      .array(z.strictObject({ type: z.enum(permissionTypes), description: z.string().max(500).optional() }))
      .default([{ type: 'CAMERA' }]),
    // Background, so that a second app can join a stream: of standard apps only one runs per user.
    appType: z.enum(['standard', 'background', 'system_dashboard']).default('background'),
    /** What the glasses must or should have; a start is refused when something REQUIRED is missing. */
    hardwareRequirements: z
      .array(
        z.strictObject({
          type: z.enum(hardwareTypes),
          level: z.enum(['REQUIRED', 'OPTIONAL']),
          description: z.string().max(500).optional(),
        }),
      )
      .max(50)
      .optional(),
    settings: z.array(z.record(z.string(), z.unknown())).default([]),
  })
  .refine(({ apiKey, hashedApiKey }) => Boolean(apiKey) !== Boolean(hashedApiKey), {
    message: 'give either apiKey or hashedApiKey',
    path: ['apiKey'],
  });
export type AppRegistration = z.input<typeof appRegistration>;

/** `com.example.cam`; also one path segment of our routes. */
export const packageName = z
  .string()
  .max(200)
  .regex(/^[a-zA-Z0-9_-]+(\.[a-zA-Z0-9_-]+)*$/, 'expected a name such as com.example.cam');

/** The file that GLASSCAST_APPS_FILE names: packageName → registration. */
const appsFile = z.record(packageName, appRegistration);

export interface AppCatalog {
  list(): Promise<RegisteredApp[]>;
  /** PACKAGE_NOT_FOUND otherwise. */
  get(name: string): Promise<RegisteredApp>;
  /** Errors: PACKAGE_NOT_FOUND, INVALID_API_KEY. */
  verify(name: string, apiKey: string): Promise<void>;
  /** MALFORMED_MESSAGE names the bad field. */
  put(name: string, registration: unknown): Promise<RegisteredApp>;
  delete(name: string): Promise<void>;
  /**
   * Takes in the text of an apps file and forgets the apps of an earlier file that this one does not name. An app that was
   * also registered by REST stays. INVALID_CONFIG names the bad field, and nothing has changed.
   */
  load(text: string): Promise<number>;
  /** Another process may have changed it: reads the store anew, and tells what is other than before. */
  refresh(): Promise<void>;
}

export interface AppCatalogOptions {
  store: Pick<Store, 'apps'>;
  /** An app was put or, without `app`, is gone. */
  onChange?: (packageName: string, app: RegisteredApp | undefined) => void;
  /** The same, and it was done here. */
  onWritten?: () => void;
}

export function createAppCatalog({ store, onChange, onWritten }: AppCatalogOptions): AppCatalog {
  let apps: Map<string, RegisteredApp> | undefined;
  /** Counts what was written here: what was read before is not believed after. */
  let writes = 0;

  async function read(): Promise<Map<string, RegisteredApp>> {
    for (;;) {
      const before = writes;
      const found = new Map((await store.apps.all()).map((app) => [app.packageName, app]));
      if (before === writes) return found;
    }
  }
  async function known(): Promise<Map<string, RegisteredApp>> {
    apps ??= await read();
    return apps;
  }
  function changed(name: string, app: RegisteredApp | undefined): void {
    writes += 1;
    if (app) apps?.set(name, app);
    else apps?.delete(name);
    onChange?.(name, app);
    onWritten?.();
  }
  async function save(
    name: string,
    registration: z.output<typeof appRegistration>,
    source: RegisteredApp['source'],
  ): Promise<RegisteredApp> {
    const { apiKey, hashedApiKey: hash, ...rest } = registration;
    const hashedApiKey = hash?.toLowerCase() ?? hashSecret(apiKey ?? '');
    const app = { ...rest, packageName: name, hashedApiKey, source };
    await store.apps.put(app);
    changed(name, app);
    return app;
  }
  async function remove(name: string): Promise<boolean> {
    const isGone = await store.apps.delete(name);
    if (isGone) changed(name, undefined);
    return isGone;
  }

  async function get(name: string): Promise<RegisteredApp> {
    const app = (await known()).get(name);
    if (!app) throw new GlasscastError('PACKAGE_NOT_FOUND', { details: { packageName: name } });
    return app;
  }

  return {
    list: async () => [...(await known()).values()].sort((a, b) => (a.packageName < b.packageName ? -1 : 1)),
    get,
    async verify(name, apiKey) {
      if (!hashMatches(apiKey, (await get(name)).hashedApiKey)) throw new GlasscastError('INVALID_API_KEY');
    },
    async put(name, registration) {
      const known = packageName.safeParse(name);
      const body = appRegistration.safeParse(registration);
      const issue = known.error?.issues[0] ?? body.error?.issues[0];
      if (!known.success || !body.success || name === CONSOLE_APP) {
        const where = known.success ? (issue?.path.join('.') ?? '') : 'packageName';
        const why = name === CONSOLE_APP ? 'this app is built in' : (issue?.message ?? 'not valid');
        throw new GlasscastError('MALFORMED_MESSAGE', { reason: `${where || 'app'}: ${why}` });
      }
      return save(name, body.data, 'rest');
    },
    async delete(name) {
      if (!(await remove(name))) throw new GlasscastError('PACKAGE_NOT_FOUND', { details: { packageName: name } });
    },
    async load(text) {
      const named = new Map(Object.entries(readAppsFile(text)));
      const before = await read();
      for (const [name, { source }] of before) if (source === 'file' && !named.has(name)) await remove(name);
      for (const [name, registration] of named) await save(name, registration, before.get(name)?.source ?? 'file');
      return named.size;
    },
    async refresh() {
      const before = apps;
      apps = await read();
      const names = new Set([...(before?.keys() ?? []), ...apps.keys()]);
      for (const name of names) {
        const app = apps.get(name);
        if (JSON.stringify(before?.get(name)) !== JSON.stringify(app)) onChange?.(name, app);
      }
    },
  };
}

/** CAMERA, or everything. */
export function maySeeCamera(app: Pick<RegisteredApp, 'permissions'>): boolean {
  return app.permissions.some(({ type }) => type === 'CAMERA' || type === 'ALL');
}

function readAppsFile(text: string): z.output<typeof appsFile> {
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (cause) {
    throw new GlasscastError('INVALID_CONFIG', { reason: 'the apps file is not JSON', cause });
  }
  const read = appsFile.safeParse(content);
  if (read.success) return read.data;
  const [issue] = read.error.issues;
  throw new GlasscastError('INVALID_CONFIG', {
    reason: `apps file, ${issue?.path.join('.') || 'top level'}: ${issue?.message ?? 'not valid'}`,
  });
}
