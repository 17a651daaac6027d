/** Who is told of a live event: destinations and policies, over restarts, and what they leave behind. */
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createLiveAlerts, policyBody } from '../../cloud/local-stream/api/live-alerts.ts';
import { openCatalogue } from '../../cloud/local-stream/catalogue.ts';
import { createRedactor } from '../../shared/secrets.ts';
import { temporaryFolder } from '../support/local-stream-world.ts';
import { createTestClock } from '../support/test-clock.ts';

function createWorld(dataDir = temporaryFolder()) {
  const redactor = createRedactor();
  const catalogue = openCatalogue({ dataDir });
  onTestFinished(() => catalogue.close());
  const clock = createTestClock();
  const alerts = createLiveAlerts({ catalogue, clock, redactor });
  function addDestination(name = 'hook', secret = 'secret-of-the-hook') {
    const added = alerts.addDestination({ name, url: 'http://127.0.0.1:1/hook', secret });
    if (added === 'too-many') throw new Error(added);
    return added;
  }
  const policy = (ids: string[], more: object = {}) =>
    policyBody.parse({
      ...{ name: 'p', alert_type: 'stream_live_notifications', enabled: true },
      mechanisms: { webhooks: ids.map((id) => ({ id })) },
      ...more,
    });
  return { dataDir, redactor, alerts, clock, addDestination, policy };
}

describe('live alerts', () => {
  it('go to every destination of every policy that fits, and to nobody else', () => {
    const { alerts, addDestination, policy } = createWorld();
    const [a, b] = [addDestination('a'), addDestination('b')];
    alerts.addPolicy(policy([a.id, b.id], { name: 'one', filters: { input_id: ['x, y'] } }));
    alerts.addPolicy(policy([b.id], { name: 'errors', filters: { event_type: ['live_input.errored'] } }));
    alerts.addPolicy(policy([a.id], { name: 'off', enabled: false }));
    const told = (type: string, inputUid: string) =>
      alerts.targetsOf({ type, inputUid }).map(({ destinationId, policy: { name } }) => [destinationId, name]);
    expect(told('connected', 'x')).toEqual([
      [a.id, 'one'],
      [b.id, 'one'],
    ]);
    expect(told('errored', 'y')).toHaveLength(3);
    expect(told('connected', 'z')).toEqual([]);
    alerts.removeDestination(a.id);
    expect(told('connected', 'x')).toEqual([[b.id, 'one']]);
  });

  it('are, for one policy, told exactly when it is on and neither filter stands against it', () => {
    const types = ['live_input.connected', 'live_input.disconnected', 'live_input.errored'] as const;
    const { alerts, addDestination, policy } = createWorld();
    const { id } = addDestination();
    fc.assert(
      fc.property(
        ...[fc.boolean(), fc.subarray(['x', 'y', 'z']), fc.subarray([...types])],
        fc.constantFrom('x', 'y', 'z'),
        fc.constantFrom('connected', 'disconnected', 'errored'),
        (enabled, inputs, events, inputUid, type) => {
          const added = alerts.addPolicy(policy([id], { enabled, filters: { input_id: inputs, event_type: events } }));
          if (typeof added === 'string') throw new Error(added);
          const isInput = inputs.length === 0 || inputs.includes(inputUid);
          const isEvent = events.length === 0 || events.some((one) => one === `live_input.${type}`);
          expect(alerts.targetsOf({ type, inputUid }).length).toBe(enabled && isInput && isEvent ? 1 : 0);
          alerts.removePolicy(added.id);
        },
      ),
    );
  });

  it('survive a restart, in the order in which they were made, and change only where they are told to', () => {
    const first = createWorld();
    const [a, b] = [first.addDestination('a'), first.addDestination('b')];
    const added = first.alerts.addPolicy(first.policy([a.id], { description: 'd', filters: { input_id: ['x'] } }));
    if (typeof added === 'string') throw new Error(added);
    first.alerts.changeDestination(a.id, { name: 'a2', url: 'http://127.0.0.1:2/' });
    first.alerts.changePolicy(added.id, { name: 'renamed' });
    expect(first.alerts.changePolicy(added.id, { mechanisms: { webhooks: [{ id: 'nobody' }] } })).toBe(
      'unknown-destination',
    );
    const second = createWorld(first.dataDir);
    expect(second.alerts.destinations()).toEqual([{ ...a, name: 'a2', url: 'http://127.0.0.1:2/' }, b]);
    expect(second.alerts.policies()).toEqual([{ ...added, name: 'renamed', modifiedMs: expect.any(Number) }]);
    expect(second.alerts.changePolicy('nobody', {})).toBeUndefined();
    expect([second.alerts.removePolicy(added.id), second.alerts.removePolicy(added.id)]).toEqual([true, false]);
  });

  it('keep their secrets out of logs as long as they have them, and out of what is shown', () => {
    const { alerts, addDestination, redactor, clock } = createWorld();
    const { id } = addDestination('a', 'first-secret');
    expect(redactor.redact('first-secret')).toBe('***');
    alerts.changeDestination(id, { name: 'a', url: 'http://127.0.0.1:1/', secret: 'second-secret' });
    expect(['first-secret', 'second-secret'].map((text) => redactor.redact(text))).toEqual(['first-secret', '***']);
    alerts.sent(id, true);
    alerts.sent('nobody', true);
    const changed = alerts.destination(id);
    if (!changed) throw new Error('it is gone');
    const shown = alerts.destinationJson(changed);
    expect(shown).toMatchObject({ last_success: expect.stringMatching(/^20/), last_failure: null });
    expect(JSON.stringify(shown)).not.toContain('secret');
    expect(clock.now()).toBeGreaterThan(0);
    alerts.removeDestination(id);
    expect(redactor.redact('second-secret')).toBe('second-secret');
  });

  it('are as many as fit, and no more', () => {
    const { alerts, addDestination, policy } = createWorld();
    const ids = Array.from({ length: 50 }, (_, i) => addDestination(String(i)).id);
    expect(alerts.addDestination({ name: 'one more', url: 'http://127.0.0.1:1/' })).toBe('too-many');
    for (const id of ids) alerts.addPolicy(policy([id]));
    expect(alerts.addPolicy(policy([ids[0] ?? '']))).toBe('too-many');
    expect(() => policy(Array.from({ length: 21 }, () => ids[0] ?? ''))).toThrow();
  });
});
