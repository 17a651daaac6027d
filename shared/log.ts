/**
 * JSON lines through pino: one event per line, a fixed event name and fields. Everything passes the redactor.
 * Readable text when standard output is a terminal, JSON otherwise.
 */
import { type DestinationStream, type Logger, pino } from 'pino';
import pretty from 'pino-pretty';
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
}

/** Usage: `log.info({ streamId, ms }, 'stream-live')`: fields first, then the event's fixed name. */
export function createLog(options: LogOptions): Log {
  const { program, level, redactor } = options;
  const sink = options.destination ?? { write: (line: string) => void process.stderr.write(line) };
  const redacting: DestinationStream = { write: (line) => sink.write(redactor.redact(line)) };
  const target = options.pretty
    ? pretty({
        colorize: Boolean(process.stderr.isTTY) && !process.env.NO_COLOR,
        ignore: 'pid,hostname,program',
        translateTime: 'HH:MM:ss.l',
        messageFormat: '{program} {msg}',
        destination: { write: (line: string) => redacting.write(line) } as never,
      })
    : redacting;
  return pino({ level, base: { program }, timestamp: pino.stdTimeFunctions.isoTime }, target) as unknown as Log;
}

/** For tests and for parts that need no log. */
export function silentLog(): Log {
  return pino({ level: 'silent' }) as unknown as Log;
}
