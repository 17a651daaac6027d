import { describe, expect, it } from 'vitest';
import { createStreamLog } from '../../cloud/tracing/stream-log.ts';
import { createLog } from '../../shared/log.ts';
import { createRedactor } from '../../shared/secrets.ts';

function world() {
  const lines: string[] = [];
  const destination = { write: (line: string) => void lines.push(line) };
  const inner = createLog({ program: 'test', level: 'debug', redactor: createRedactor(), destination });
  const log = createStreamLog(inner, (streamId) =>
    streamId === 's1' ? { userId: 'ada@example.com', traceId: 't1' } : {},
  );
  const last = () => {
    const { level: _, time: __, program: ___, ...rest } = JSON.parse(lines.at(-1) ?? '') as Record<string, unknown>;
    return rest;
  };
  return { log, last };
}

describe('the log of streams', () => {
  it('a line about a stream names its user and its trace', () => {
    const { log, last } = world();
    log.info({ streamId: 's1', ms: 4 }, 'stream-live');
    expect(last()).toEqual({ msg: 'stream-live', streamId: 's1', ms: 4, userId: 'ada@example.com', traceId: 't1' });
    log.child({ streamId: 's1' }).child({ part: 'x' }).warn({}, 'stream-late');
    expect(last()).toMatchObject({ msg: 'stream-late', part: 'x', userId: 'ada@example.com', traceId: 't1' });
  });

  it('what was said is not changed, and of strangers nothing is added', () => {
    const { log, last } = world();
    log.error({ streamId: 's1', userId: 'bob@example.com' }, 'odd');
    expect(last()).toMatchObject({ userId: 'bob@example.com' });
    log.debug({ streamId: 's2' }, 'unknown');
    expect(last()).toEqual({ msg: 'unknown', streamId: 's2' });
    log.info({ port: 1 }, 'no-stream');
    expect(last()).toEqual({ msg: 'no-stream', port: 1 });
  });
});
