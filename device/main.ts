/**
 * The agent as a program: reads its settings, runs until a signal. Exit code 0 after a clean end, 1 when it could not start
 * (one line says why). A relay that is away is no reason to end.
 */
import { readFile } from 'node:fs/promises';
import { createSystemClock } from '../shared/clock.ts';
import { errorText, GlasscastError } from '../shared/errors.ts';
import { createLog } from '../shared/log.ts';
import { runProgram, untilSignal } from '../shared/program.ts';
import { createRedactor } from '../shared/secrets.ts';
import type { EffectiveSettings } from '../shared/settings.ts';
import { type Agent, createAgent } from './agent.ts';
import { parseCaptureSource } from './capture/capture-source.ts';
import { type AgentConfig, agentSettings } from './config.ts';
import { findCoreToken } from './runtime/enrolment.ts';

async function run(config: AgentConfig, effective: EffectiveSettings): Promise<void> {
  const { source: sourceText, microphone, caFile, logLevel, modelName, ...rest } = config;
  const { coreToken: given, enrolmentCode, tokenFile, privacyLight, privacyLightRequired, ...settings } = rest;
  const source = parseCaptureSource(sourceText, microphone);
  const ca = caFile === undefined ? undefined : await readCaFile(caFile);
  const clock = createSystemClock();
  const redactor = createRedactor();
  const log = createLog({ program: 'agent', level: logLevel, redactor, pretty: Boolean(process.stderr.isTTY) });
  const enrolling = new AbortController();
  let agent: Agent | undefined;
  const { ended, isEnding } = untilSignal(clock, async () => {
    enrolling.abort();
    await agent?.close();
  });
  try {
    const sources = { coreToken: given, enrolmentCode, tokenFile, relayUrl: config.relayUrl };
    const coreToken = await findCoreToken({ ...sources, clock, log, redactor, signal: enrolling.signal });
    agent = createAgent({
      ...settings,
      modelName: modelName ?? (source.kind === 'camera' ? 'Glasscast' : 'Glasscast Simulator'),
      ...{ coreToken, source, ca, clock, log, redactor },
      privacyLight: privacyLight && { driver: privacyLight, isRequired: privacyLightRequired },
    });
    if (!isEnding()) await agent.start();
    log.info(effective, 'agent-config');
    process.stdout.write(`Agent ready: ${sourceText} for ${config.relayUrl}\n`);
  } catch (error) {
    await agent?.close();
    // A signal during the enrolment makes it fail: that is the clean end that was asked for.
    if (!enrolling.signal.aborted) throw error;
  }
  await ended;
  await agent?.close();
}

async function readCaFile(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new GlasscastError('INVALID_CONFIG', { reason: `--ca-file: ${errorText(error)}` });
  }
}

await runProgram(agentSettings, run);
