import { describe, expect, it } from 'vitest';
import { openCoreTokens } from '../../cloud/access/core-tokens.ts';
import { createEnrolments } from '../../cloud/access/enrolments.ts';
import { createSqliteStore } from '../../cloud/store/sqlite-store.ts';
import { Secret } from '../../shared/secrets.ts';
import { createTestClock } from '../support/test-clock.ts';

async function world() {
  const clock = createTestClock();
  const store = createSqliteStore({ file: ':memory:' });
  const tokens = await openCoreTokens({ clock, secret: new Secret('a-secret-for-core-tokens'), store });
  return { clock, store, tokens, enrolments: createEnrolments({ clock, store, tokens }) };
}
const refused = { code: 'ENROLMENT_REFUSED' };

describe('an enrolment code', () => {
  it('can be typed, and gives its user a core token', async () => {
    const { clock, enrolments, tokens } = await world();
    const { code, userId } = await enrolments.create({
      email: 'Ada@Example.com',
      label: 'helmet',
      tokenLifetimeSeconds: 3600,
    });
    expect([code.reveal(), userId]).toEqual([expect.stringMatching(/^[2-9B-Z]{5}-[2-9B-Z]{5}$/), 'ada@example.com']);
    expect(code.reveal()).not.toMatch(/[AEIOUY01L]/);
    const token = await enrolments.redeem(` ${code.reveal().toLowerCase().replace('-', ' ')} `);
    expect(await tokens.verify(token.coreToken.reveal())).toMatchObject({
      userId: 'ada@example.com',
      expiresAtMs: clock.now() + 3_600_000,
    });
    expect(await tokens.list()).toMatchObject([{ label: 'helmet' }]);
  });

  it('works once, also for two at once', async () => {
    const { enrolments, tokens } = await world();
    const { code } = await enrolments.create({ email: 'a@b.c' });
    const results = await Promise.allSettled(Array.from({ length: 5 }, () => enrolments.redeem(code.reveal())));
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    await expect(enrolments.redeem(code.reveal())).rejects.toMatchObject(refused);
    expect(await tokens.list()).toHaveLength(1);
  });

  it('is over after its time or when it is cancelled, and reads like an unknown one then', async () => {
    const { clock, enrolments } = await world();
    const late = await enrolments.create({ email: 'a@b.c', expiresInSeconds: 60 });
    const cancelled = await enrolments.create({ email: 'b@b.c' });
    await enrolments.cancel(cancelled.enrolmentId);
    await expect(enrolments.cancel(cancelled.enrolmentId)).rejects.toMatchObject({ code: 'ENROLMENT_NOT_FOUND' });
    expect(await enrolments.list()).toMatchObject([{ enrolmentId: late.enrolmentId, userId: 'a@b.c' }]);
    await clock.advance(60_000);
    for (const { code } of [late, cancelled, { code: new Secret('ZZZZ-ZZZZ') }]) {
      await expect(enrolments.redeem(code.reveal())).rejects.toMatchObject(refused);
    }
    expect(await enrolments.list()).toEqual([]);
  });

  it('is kept as a hash only', async () => {
    const { enrolments, store } = await world();
    const { code, enrolmentId } = await enrolments.create({ email: 'a@b.c' });
    const kept = JSON.stringify([await store.enrolments.all(), await enrolments.list()]);
    expect(kept).not.toContain(code.reveal());
    expect(kept).not.toContain(code.reveal().replace('-', ''));
    expect(JSON.stringify(await store.enrolments.all())).not.toContain(enrolmentId);
  });

  it('cannot be guessed by many together: 1,000 at once, then 200 a second', async () => {
    const { clock, enrolments } = await world();
    const codes = async (count: number) => {
      const tries = await Promise.allSettled(Array.from({ length: count }, () => enrolments.redeem('2222-2222')));
      return tries.filter((result) => result.status === 'rejected' && result.reason.code === refused.code).length;
    };
    expect(await codes(1_100)).toBe(1_000);
    await clock.advance(1_000);
    expect(await codes(300)).toBe(200);
    await expect(enrolments.redeem('2222-2222')).rejects.toMatchObject({ code: 'RATE_LIMITED' });
  });
});
