/**
 * Settings of a program from one table: parser, help text, documentation and the account of what is in effect. Flags win
 * over the environment, that over the program's file, if it has one, and all over the defaults. Reads what it is given and
 * touches no global; a secret's value never appears in an error or in that account.
 */
import { parseArgs } from 'node:util';
import * as z from 'zod';
import { GlasscastError } from './errors.ts';
import { Secret } from './secrets.ts';
import { readSettingsFile } from './settings-file.ts';

/** Of a URL: `https://user:password@host`. */
const USER_INFO = /\b([a-z][a-z0-9+.-]*:\/\/)[^\s/]*@/gi;

type Environment = Record<string, string | undefined>;

/** A switch, as people write one; in a file also as JSON does. */
export const yesNo = z
  .preprocess(
    (word) => (typeof word === 'boolean' ? String(word) : word),
    z.enum(['true', 'false', '1', '0', 'yes', 'no']),
  )
  .transform((word) => ['true', '1', 'yes'].includes(word));

export interface SettingsTable<Shape extends z.ZodRawShape> {
  /** Every key with its default and a describing sentence. */
  schema: z.ZodObject<Shape>;
  /** Of the environment's names, e.g. `GLASSCAST_AGENT_`. Unknown names with this prefix are an error. */
  prefix: string;
  /** Other programs' prefixes that begin with ours. */
  foreignPrefixes?: readonly string[];
  /** No flags. Secrets, which would stand in the process list, unless `open` names them. */
  environmentOnly: readonly (keyof Shape & string)[];
  /** Of `environmentOnly`, those that are no secrets. */
  open?: readonly (keyof Shape & string)[];
  /** The key that names a file of settings; without one the program reads no file. */
  fileKey?: keyof Shape & string;
  /** Names without the prefix that are read as well, e.g. FFMPEG_PATH. */
  aliases?: Readonly<Record<string, keyof Shape & string>>;
  /** First line of the help. */
  about: string;
  /** How it is called, e.g. `npm run agent`. */
  usage: string;
  /** Last lines of the help: what the flags alone do not tell. */
  notes?: string;
}

/** Each value as it was given, and where. */
type Given = Map<string, { text: unknown; from: 'flags' | 'environment' | 'file'; file?: string }>;

export interface Setting {
  environmentName: string;
  /** Undefined: by environment only. */
  flag: string | undefined;
  isSecret: boolean;
  about: string;
  fallback: string | undefined;
}

/** What is in effect and where it came from, fit for a log: secrets are `***`, user info is gone from URLs. */
export interface EffectiveSettings {
  flags: Readonly<Record<string, unknown>>;
  environment: Readonly<Record<string, unknown>>;
  /** Only of programs that read one. */
  file?: Readonly<Record<string, unknown>>;
  defaults: Readonly<Record<string, unknown>>;
}

export interface Settings<Values> {
  /**
   * @returns `help` when it was asked for.
   * @throws GlasscastError INVALID_CONFIG naming every key that is wrong or unknown, never a value.
   */
  read(args: readonly string[], environment: Environment): Values | 'help';
  /** @throws as `read` */
  describe(args: readonly string[], environment: Environment): EffectiveSettings;
  /** The text of --help. */
  help(): string;
  list(): Setting[];
}

export function createSettings<Shape extends z.ZodRawShape>(
  table: SettingsTable<Shape>,
): Settings<z.output<z.ZodObject<Shape>>> {
  const { schema, prefix, foreignPrefixes = [], aliases = {} } = table;
  const environmentOnly = new Set<string>(table.environmentOnly);
  const isSecret = (key: string) => environmentOnly.has(key) && !table.open?.includes(key);
  const keys = Object.keys(schema.shape);
  const settings = keys.map((key) => {
    const field = schema.shape[key] as unknown as z.ZodType;
    const fallback = field instanceof z.ZodDefault ? String(field.def.defaultValue) : undefined;
    const dashed = key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    const environmentName = prefix + dashed.replaceAll('-', '_').toUpperCase();
    const flag = environmentOnly.has(key) ? undefined : dashed;
    return { key, environmentName, flag, isSecret: isSecret(key), about: field.description ?? '', fallback };
  });
  const flags = settings.flatMap(({ flag }) => flag ?? []);
  const nameOf = (key: PropertyKey | undefined) => {
    const setting = settings.find((candidate) => candidate.key === key);
    return setting ? (setting.flag ? `--${setting.flag}` : setting.environmentName) : String(key);
  };

  /** Each value as it was given, and where. */
  function collect(args: readonly string[], environment: Environment) {
    const flagged = readFlags(args, flags);
    if (flagged.help) return 'help';
    const known = new Set(settings.map(({ environmentName }) => environmentName));
    const isUnknown = (name: string) =>
      name.startsWith(prefix) && !known.has(name) && !foreignPrefixes.some((other) => name.startsWith(other));
    const unknown = Object.keys(environment).filter(isUnknown);
    if (unknown.length > 0) throw new GlasscastError('INVALID_CONFIG', { reason: `unknown ${unknown.join(', ')}` });
    const given: Given = new Map();
    for (const [alias, key] of Object.entries(aliases)) {
      if (environment[alias]) given.set(key, { text: environment[alias], from: 'environment' });
    }
    for (const { key, flag, environmentName } of settings) {
      const asFlag = flag && flagged[flag];
      const text = asFlag ?? environment[environmentName];
      if (text === undefined || text === '') continue;
      given.set(key, { text, from: asFlag === undefined ? 'environment' : 'flags' });
    }
    addFile(given);
    return given;
  }
  /** What nothing stronger has given. A wrong key is told also when its value would not count. */
  function addFile(given: Given): void {
    const file = table.fileKey && given.get(table.fileKey)?.text;
    if (typeof file !== 'string') return;
    const { values, openMode } = readSettingsFile(file);
    const wrong = [...values].flatMap(([key, value]) => {
      const field = schema.shape[key] as unknown as z.ZodType | undefined;
      if (!keys.includes(key) || !field) return `unknown ${key} in ${file}`;
      if (key === table.fileKey) return `${key} in ${file}: a file names no other`;
      if (isSecret(key) && openMode !== undefined) {
        return `${key} in ${file}: others may read the file (mode ${openMode}); chmod 600 it, or keep the secret elsewhere`;
      }
      // `true` would count as 1.
      if (typeof value === 'boolean' && !field.safeParse(String(value)).success) {
        return `${key} in ${file}: cannot be true or false`;
      }
      if (!given.has(key) && value !== '') given.set(key, { text: value, from: 'file', file });
      return [];
    });
    if (wrong.length > 0) throw new GlasscastError('INVALID_CONFIG', { reason: wrong.join('; ') });
  }
  function parse(given: Given) {
    const parsed = schema.safeParse(Object.fromEntries([...given].map(([key, { text }]) => [key, text])));
    if (parsed.success) return parsed.data;
    const wrong = parsed.error.issues.map(({ path, message }) => {
      const setting = settings.find(({ key }) => key === path[0]);
      const { from, file } = given.get(String(path[0])) ?? {};
      if (from === 'file') return `${String(path[0])} in ${file}: ${message}`;
      // By the name it was given under.
      const isFlag = from === 'flags';
      return `${isFlag || !setting ? nameOf(path[0]) : setting.environmentName}: ${message}`;
    });
    throw new GlasscastError('INVALID_CONFIG', { reason: wrong.join('; ') });
  }

  return {
    read(args, environment) {
      const given = collect(args, environment);
      return given === 'help' ? given : parse(given);
    },
    describe(args, environment) {
      const given = collect(args, environment);
      const own = { flags: {}, environment: {}, defaults: {} };
      const effective: EffectiveSettings = table.fileKey ? { ...own, file: {} } : own;
      if (given === 'help') return effective;
      const values: Record<string, unknown> = parse(given);
      for (const { key } of settings) {
        if (values[key] === undefined) continue;
        const { from = 'defaults' } = given.get(key) ?? {};
        Object.assign(effective[from] ?? {}, { [key]: printable(values[key]) });
      }
      return effective;
    },
    help() {
      const width = Math.max(...settings.map(({ key }) => nameOf(key).length)) + 2;
      const lines = settings.map(
        ({ key, about, fallback }) =>
          `  ${nameOf(key).padEnd(width)}${about}${fallback === undefined ? '' : ` (default ${fallback})`}`,
      );
      const inFile = table.fileKey ? `, or in the JSON file of ${nameOf(table.fileKey)} as flagName` : '';
      const ending = `Each flag may also be set as ${prefix}<FLAG_NAME>${inFile}.`;
      const notes = table.notes === undefined ? [] : [table.notes, ''];
      return [table.about, '', `Usage: ${table.usage} -- [flags]`, '', ...lines, '', ending, '', ...notes].join('\n');
    },
    list: () => settings.map(({ key: _, ...setting }) => setting),
  };
}

function printable(value: unknown): unknown {
  if (value instanceof Secret) return String(value);
  return typeof value === 'string' ? value.replace(USER_INFO, '$1***@') : value;
}

function readFlags(args: readonly string[], flags: readonly string[]): Record<string, string | boolean | undefined> {
  const options = Object.fromEntries(flags.map((flag) => [flag, { type: 'string' as const }]));
  try {
    const { values } = parseArgs({ args: [...args], options: { ...options, help: { type: 'boolean', short: 'h' } } });
    return values as Record<string, string | boolean | undefined>;
  } catch (error) {
    // Its message quotes the argument's name, which is what is wrong.
    throw new GlasscastError('INVALID_CONFIG', { reason: error instanceof Error ? error.message : 'bad arguments' });
  }
}
