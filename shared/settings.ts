/**
 * Settings of a program from one table: parser, help text and documentation in one. Flags win over the environment, both
 * over the defaults. Reads what it is given and touches no global; a secret's value never appears in an error.
 */
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { GlasscastError } from './errors.ts';

type Environment = Record<string, string | undefined>;

export interface SettingsTable<Shape extends z.ZodRawShape> {
  /** Every key with its default and a describing sentence. */
  schema: z.ZodObject<Shape>;
  /** Of the environment's names, e.g. `GLASSCAST_AGENT_`. Unknown names with this prefix are an error. */
  prefix: string;
  /** Other programs' prefixes that begin with ours. */
  foreignPrefixes?: readonly string[];
  /** Secrets: as flags they would stand in the process list. */
  environmentOnly: readonly (keyof Shape & string)[];
  /** Names without the prefix that are read as well, e.g. FFMPEG_PATH. */
  aliases?: Readonly<Record<string, keyof Shape & string>>;
  /** First line of the help. */
  about: string;
  /** How it is called, e.g. `npm run agent`. */
  usage: string;
}

export interface Setting {
  environmentName: string;
  /** Undefined: by environment only. */
  flag: string | undefined;
  about: string;
  fallback: string | undefined;
}

export interface Settings<Values> {
  /**
   * @returns `help` when it was asked for.
   * @throws GlasscastError INVALID_CONFIG naming every key that is wrong or unknown, never a value.
   */
  read(args: readonly string[], environment: Environment): Values | 'help';
  /** The text of --help. */
  help(): string;
  list(): Setting[];
}

export function createSettings<Shape extends z.ZodRawShape>(
  table: SettingsTable<Shape>,
): Settings<z.output<z.ZodObject<Shape>>> {
  const { schema, prefix, foreignPrefixes = [], aliases = {} } = table;
  const environmentOnly = new Set<string>(table.environmentOnly);
  const keys = Object.keys(schema.shape);
  const settings = keys.map((key) => {
    const field = schema.shape[key] as unknown as z.ZodType;
    const fallback = field instanceof z.ZodDefault ? String(field.def.defaultValue) : undefined;
    const dashed = key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    const environmentName = prefix + dashed.replaceAll('-', '_').toUpperCase();
    const flag = environmentOnly.has(key) ? undefined : dashed;
    return { key, environmentName, flag, about: field.description ?? '', fallback };
  });
  const flags = settings.flatMap(({ flag }) => flag ?? []);
  const nameOf = (key: PropertyKey | undefined) => {
    const setting = settings.find((candidate) => candidate.key === key);
    return setting ? (setting.flag ? `--${setting.flag}` : setting.environmentName) : String(key);
  };

  return {
    read(args, environment) {
      const given = readFlags(args, flags);
      if (given.help) return 'help';
      const known = new Set(settings.map(({ environmentName }) => environmentName));
      const isUnknown = (name: string) =>
        name.startsWith(prefix) && !known.has(name) && !foreignPrefixes.some((other) => name.startsWith(other));
      const unknown = Object.keys(environment).filter(isUnknown);
      if (unknown.length > 0) throw new GlasscastError('INVALID_CONFIG', { reason: `unknown ${unknown.join(', ')}` });
      const values: Record<string, unknown> = {};
      for (const [alias, key] of Object.entries(aliases)) if (environment[alias]) values[key] = environment[alias];
      for (const { key, flag, environmentName } of settings) {
        const value = (flag && given[flag]) ?? environment[environmentName];
        if (value !== undefined && value !== '') values[key] = value;
      }
      const parsed = schema.safeParse(values);
      if (parsed.success) return parsed.data;
      const wrong = parsed.error.issues.map(({ path, message }) => {
        const setting = settings.find(({ key }) => key === path[0]);
        // By the name it was given under.
        const isFlag = setting?.flag !== undefined && given[setting.flag] !== undefined;
        return `${isFlag || !setting ? nameOf(path[0]) : setting.environmentName}: ${message}`;
      });
      throw new GlasscastError('INVALID_CONFIG', { reason: wrong.join('; ') });
    },
    help() {
      const width = Math.max(...settings.map(({ key }) => nameOf(key).length)) + 2;
      const lines = settings.map(
        ({ key, about, fallback }) =>
          `  ${nameOf(key).padEnd(width)}${about}${fallback === undefined ? '' : ` (default ${fallback})`}`,
      );
      const ending = `Each flag may also be set as ${prefix}<FLAG_NAME>.`;
      return [table.about, '', `Usage: ${table.usage} -- [flags]`, '', ...lines, '', ending, ''].join('\n');
    },
    list: () => settings.map(({ key: _, ...setting }) => setting),
  };
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
