/**
 * The account's live inputs: created once per idempotency key, found by uid or by key, changed, removed. In memory for speed,
 * in the catalogue for good; every change is written before it is answered.
 */
import { timingSafeEqual } from 'node:crypto';
import type { Clock } from '../../../shared/clock.ts';
import { errorText } from '../../../shared/errors.ts';
import type { Log } from '../../../shared/log.ts';
import { type Redactor, Secret } from '../../../shared/secrets.ts';
import type { Catalogue } from '../catalogue.ts';
import {
  changedLiveInput,
  isoTime,
  type LiveInput,
  type LiveInputBody,
  maxOutputs,
  newLiveInput,
  newUid,
  nextStatus,
  type Output,
  rotatedLiveInput,
  type StatusEntry,
} from './live-input.ts';

export interface LiveInputRegistry {
  start(): void;
  /** Newest first. */
  list(): LiveInput[];
  get(uid: string): LiveInput | undefined;
  byPublishKey(key: string): LiveInput | undefined;
  byPlaybackKey(key: string): LiveInput | undefined;
  /** The same key within six hours gives the same input; `key-spent` when that one has been deleted since. */
  create(body: LiveInputBody, idempotencyKey?: string): LiveInput | 'key-spent';
  update(uid: string, body: LiveInputBody): LiveInput | undefined;
  /** The old keys are worth nothing from now on. */
  rotateKeys(uid: string): LiveInput | undefined;
  remove(uid: string): boolean;
  addOutput(uid: string, output: { url: string; streamKey: string; enabled: boolean }): Output | 'too-many' | undefined;
  changeOutput(uid: string, outputUid: string, enabled: boolean): Output | undefined;
  removeOutput(uid: string, outputUid: string): boolean;
  connectionChanged(uid: string, reason: StatusEntry['reason']): void;
}

export interface LiveInputRegistryOptions {
  catalogue: Pick<Catalogue, 'liveInputs' | 'saveLiveInput' | 'removeLiveInput' | 'inputOfKey'>;
  clock: Clock;
  redactor: Redactor;
  log: Log;
  /** Called after an input or one of its outputs was changed or removed. */
  onChanged: (uid: string) => void;
  /** Whoever is connected came in by an old key. */
  onKeysRotated: (uid: string) => void;
}

const KEY_LIFE_MS = 6 * 3_600_000;

/** In a time that does not tell how far they agree. */
function isSame(secret: string, said: string): boolean {
  const [a, b] = [Buffer.from(secret), Buffer.from(said)];
  return a.length === b.length && timingSafeEqual(a, b);
}

export function createLiveInputRegistry(options: LiveInputRegistryOptions): LiveInputRegistry {
  const { catalogue, clock, log, redactor, onChanged, onKeysRotated } = options;
  const inputs = new Map<string, LiveInput>();

  /** A key ends in the uid of its input, which saves a table of keys. */
  function byKey(key: string, keyOf: (input: LiveInput) => Secret): LiveInput | undefined {
    const input = inputs.get(key.slice(-32));
    return input && isSame(keyOf(input).reveal(), key) ? input : undefined;
  }
  const keysOf = ({ publishKey, playbackKey, webRtcKey }: LiveInput) => [publishKey, playbackKey, webRtcKey];
  const secretsOf = (input: LiveInput) => [...keysOf(input), ...input.outputs.map(({ streamKey }) => streamKey)];
  function keep(input: LiveInput, idempotencyKey?: string): LiveInput {
    catalogue.saveLiveInput(input, idempotencyKey);
    inputs.set(input.uid, input);
    return input;
  }
  function changeOutputs(uid: string, change: (outputs: readonly Output[]) => Output[]): LiveInput | undefined {
    const input = inputs.get(uid);
    if (!input) return undefined;
    const changed = keep({ ...input, outputs: change(input.outputs), modifiedMs: clock.now() });
    onChanged(uid);
    return changed;
  }

  return {
    start() {
      for (const input of catalogue.liveInputs()) {
        for (const secret of secretsOf(input)) redactor.add(secret);
        inputs.set(input.uid, input);
        // A process that was killed had no time to write the end of its connections.
        if (input.status?.current.state === 'connected') {
          keep({ ...input, status: nextStatus(input.status, 'client_disconnect', isoTime(clock.now())) });
        }
      }
    },
    list: () => [...inputs.values()].sort((a, b) => b.createdMs - a.createdMs),
    get: (uid) => inputs.get(uid),
    byPublishKey: (key) => byKey(key, ({ publishKey }) => publishKey),
    byPlaybackKey: (key) => byKey(key, ({ playbackKey }) => playbackKey),
    create(body, idempotencyKey) {
      const nowMs = clock.now();
      if (idempotencyKey) {
        const uid = catalogue.inputOfKey(idempotencyKey, nowMs - KEY_LIFE_MS);
        if (uid) return inputs.get(uid) ?? 'key-spent';
      }
      const input = keep(newLiveInput(body, nowMs), idempotencyKey);
      for (const secret of secretsOf(input)) redactor.add(secret);
      return input;
    },
    update(uid, body) {
      const input = inputs.get(uid);
      if (!input) return undefined;
      const changed = keep(changedLiveInput(input, body, clock.now()));
      onChanged(uid);
      return changed;
    },
    rotateKeys(uid) {
      const input = inputs.get(uid);
      if (!input) return undefined;
      const rotated = keep(rotatedLiveInput(input, clock.now()));
      for (const secret of keysOf(rotated)) redactor.add(secret);
      onKeysRotated(uid);
      for (const secret of keysOf(input)) redactor.forget(secret);
      return rotated;
    },
    remove(uid) {
      const input = inputs.get(uid);
      if (!input) return false;
      catalogue.removeLiveInput(uid);
      inputs.delete(uid);
      onChanged(uid);
      // Only now: ending the broadcast may still write the keys into a log line.
      for (const secret of secretsOf(input)) redactor.forget(secret);
      return true;
    },
    addOutput(uid, { url, streamKey, enabled }) {
      const input = inputs.get(uid);
      if (!input) return undefined;
      if (input.outputs.length >= maxOutputs) return 'too-many';
      const output = { uid: newUid(), url, streamKey: new Secret(streamKey), enabled };
      redactor.add(output.streamKey);
      changeOutputs(uid, (outputs) => [...outputs, output]);
      return output;
    },
    changeOutput(uid, outputUid, enabled) {
      const changed = changeOutputs(uid, (outputs) =>
        outputs.map((output) => (output.uid === outputUid ? { ...output, enabled } : output)),
      );
      return changed?.outputs.find((output) => output.uid === outputUid);
    },
    removeOutput(uid, outputUid) {
      const output = inputs.get(uid)?.outputs.find((one) => one.uid === outputUid);
      if (!output) return false;
      changeOutputs(uid, (outputs) => outputs.filter((one) => one !== output));
      redactor.forget(output.streamKey);
      return true;
    },
    connectionChanged(uid, reason) {
      const input = inputs.get(uid);
      if (!input) return;
      const changed = { ...input, status: nextStatus(input.status, reason, isoTime(clock.now())) };
      inputs.set(uid, changed);
      try {
        catalogue.saveLiveInput(changed);
      } catch (error) {
        // A publisher is not turned away because the disk is full.
        log.warn({ inputUid: uid, cause: errorText(error) }, 'status-not-saved');
      }
    },
  };
}
