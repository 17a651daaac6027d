/**
 * JSON lines through pino: one event per line, a fixed event name and fields. Everything passes the redactor.
 * Readable text when standard output is a terminal, JSON otherwise.
 */
import { type Logger, pino } from 'pino';
import { prettyFactory } from 'pino-pretty';
import type { Clock } from './clock.ts';
import { createLineFolding } from './log-folding.ts';
import type { Redactor } from './secrets.ts';

export type Log = Pick<Logger, 'debug' | 'info' | 'warn' | 'error'> & {
  child(fields: Record<string, unknown>): Log;
};

export const logLevels = ['debug', 'info', 'warn', 'error', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

export interface LogOptions {
  /** Which program speaks: relay, local-stream, agent, demo. */
  program: string;
  level: LogLevel;
  redactor: Redactor;
  /** Where lines go; default: standard error, so that standard output stays for results. */
  destination?: { write(line: string): void };
  /** Text for people instead of JSON. */
  pretty?: boolean;
  /** Gets the same as JSON, whatever `pretty` says; see `createLogFile`. */
  file?: { write(line: string): void } | undefined;
  /** Equal lines are folded by this clock; see `createLineFolding`. Default: every line is written. */
  foldBy?: Clock;
}

/** Usage: `log.info({ streamId, ms }, 'stream-live')`: fields first, then the event's fixed name. */
export function createLog(options: LogOptions): Log {
  const { program, level, redactor } = options;
  const sink = options.destination ?? { write: (line: string) => void process.stderr.write(line) };
  // Not as a stream of its own: that would print after the program has ended, or never.
  const readable = options.pretty
    ? prettyFactory({
        colorize: Boolean(process.stderr.isTTY) && !process.env.NO_COLOR,
        ignore: 'pid,hostname,program',
        translateTime: 'HH:MM:ss.l',
        messageFormat: '{program} {msg}',
      })
    : undefined;
  const { file, foldBy } = options;
  const both = {
    write(line: string) {
      sink.write(redactor.redact(readable?.(line) ?? line));
      file?.write(redactor.redact(line));
    },
  };
  const folding = foldBy && createLineFolding({ clock: foldBy, write: both.write });
  return pino(
    { level, base: { program }, timestamp: pino.stdTimeFunctions.isoTime },
    folding ?? both,
  ) as unknown as Log;
}

/** For tests and for parts that need no log. */
export function silentLog(): Log {
  return pino({ level: 'silent' }) as unknown as Log;
}
