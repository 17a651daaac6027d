/**
 * The agent as a program: reads its settings, runs until a signal, or carries out one of its commands. Exit code 0 after a
 * clean end, 1 when it could not start (one line says why). A relay that is away is no reason to end.
 */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { createChildSpawner } from '../shared/child-process.ts';
import { createSystemClock } from '../shared/clock.ts';
import { asGlasscastError, errorText, GlasscastError } from '../shared/errors.ts';
import { createLog } from '../shared/log.ts';
import { createLogFile } from '../shared/log-file.ts';
import { runProgram, untilSignal } from '../shared/program.ts';
import { createRedactor } from '../shared/secrets.ts';
import type { EffectiveSettings } from '../shared/settings.ts';
import { type Agent, createAgent } from './agent.ts';
import { parseCaptureSource } from './capture/capture-source.ts';
import { type AgentConfig, agentSettings, statusSocketPath, surroundingsOf } from './config.ts';
import { ffmpegEnvironment } from './encoding/board-ffmpeg.ts';
import { findDevices } from './found-devices.ts';
import { needsOf } from './needs.ts';
import { type Command, outliveReader, parseCommand, runDevices, runDoctor, runStatus } from './runtime/commands.ts';
import { findCoreToken } from './runtime/enrolment.ts';
import { statusReport, statusSummary } from './runtime/status-report.ts';
import { openStatusSocket, type StatusSocket } from './runtime/status-socket.ts';
import { createServiceNotifier } from './runtime/systemd.ts';
import { readScenario } from './simulator/scenario.ts';
import { openSimulation, type Simulation } from './simulator/simulation.ts';
import { type AgentUpdates, openUpdates } from './updates/agent-updates.ts';
import { agentVersion } from './version.ts';

const UNIT_STATUS_EVERY_MS = 5_000;
/** Of the sources; the agent as one file has none beside it. */
const SCENARIO_FOLDER = fileURLToPath(new URL('../scripts/scenarios', import.meta.url));

const surroundings = surroundingsOf(process.env);

async function run(config: AgentConfig, effective: EffectiveSettings): Promise<void> {
  const {
    source: sourceText,
    microphone,
    caFile,
    logLevel,
    logFile,
    logFileMb,
    modelName,
    scenario,
    seed,
    ...rest
  } = config;
  const {
    coreToken: given,
    enrolmentCode,
    coreTokenFile,
    tokenFile,
    statusSocket: _,
    configFile: __,
    releasesFolder,
    releaseKeysFolder,
    updateTrialMs: trialMs,
    ...settings
  } = rest;
  const source = parseCaptureSource(sourceText, microphone);
  const ca = caFile === undefined ? undefined : await readCaFile(caFile);
  const script = scenario === undefined ? undefined : await readScenario(scenario, SCENARIO_FOLDER);
  const clock = createSystemClock();
  const redactor = createRedactor();
  const file = logFile === undefined ? undefined : openLogFile(logFile, logFileMb);
  const pretty = Boolean(process.stderr.isTTY);
  const log = createLog({ program: 'agent', level: logLevel, redactor, pretty, file, foldBy: clock });
  const children = createChildSpawner({ clock, log, redactor });
  const enrolling = new AbortController();
  let agent: Agent | undefined;
  let simulation: Simulation | undefined;
  let updates: AgentUpdates | undefined;
  const status = () => agent?.status() ?? { connected: false, cause: 'enrolling' };
  const summary = () => statusSummary(statusReport.parse(status()));
  const notifier = createServiceNotifier({
    ...{ environment: process.env, pid: process.pid, spawn: children.spawn, clock, log },
    // That the timer fires shows that the event loop turns.
    isHealthy: () => agent?.isHealthy() ?? true,
  });
  const { ended, end, isEnding } = untilSignal(clock, async () => {
    notifier.stopping();
    enrolling.abort();
    await agent?.close();
  });
  const socket = await openStatus(config, status);
  // A relay that is away may keep a one-time code waiting for long: to systemd that is a running agent.
  notifier.ready(summary());
  const unitStatus = clock.every('unit-status', UNIT_STATUS_EVERY_MS, () => notifier.status(summary()));
  try {
    const sources = { coreToken: given, coreTokenFile, enrolmentCode, tokenFile, relayUrl: config.relayUrl };
    const { credentialsFolder } = surroundings;
    const signal = enrolling.signal;
    const coreToken = await findCoreToken({ ...sources, credentialsFolder, clock, log, redactor, signal });
    simulation = script && (await openSimulation({ scenario: script, seed, clock, log }));
    updates = await openUpdates({
      ...{ clock, log, launch: surroundings.launch, releasesFolder, releaseKeysFolder, trialMs },
      ...{ version: agentVersion, architecture: process.arch, nodeVersion: process.versions.node },
      end(exitCode) {
        process.exitCode = exitCode;
        end();
      },
    });
    agent = createAgent({
      ...settings,
      ...{ simulation, updates },
      modelName: modelName ?? (source.kind === 'camera' ? 'Glasscast' : 'Glasscast Simulator'),
      ...{ coreToken, source, ca, clock, log, redactor },
    });
    if (!isEnding()) await agent.start();
    log.info(effective, 'agent-config');
    process.stdout.write(`Agent ready: ${sourceText} for ${config.relayUrl}\n`);
    await ended;
  } catch (error) {
    // A signal during the enrolment makes it fail: that is the clean end that was asked for.
    if (!enrolling.signal.aborted) throw error;
    await ended;
  } finally {
    unitStatus.cancel();
    await agent?.close();
    updates?.close();
    await simulation?.close();
    await socket?.close();
    await notifier.close();
    await children.close();
    file?.close();
  }

  async function openStatus(from: AgentConfig, tell: () => unknown): Promise<StatusSocket | undefined> {
    const path = statusSocketPath(from, surroundings);
    if (path === undefined) return undefined;
    try {
      return await openStatusSocket({ path, status: tell, log });
    } catch (error) {
      // A second simulator on a machine is no mistake; a place that was asked for has to be free.
      if (from.statusSocket !== undefined) throw error;
      log.warn({ reason: errorText(error) }, 'status-socket-missing');
      return undefined;
    }
  }
}

function openLogFile(file: string, maxMb: number) {
  const onTrouble = (reason: string) => void process.stderr.write(`The log file takes no lines: ${reason}\n`);
  return createLogFile({ file, maxBytes: maxMb * 1e6, onTrouble });
}

async function readCaFile(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new GlasscastError('INVALID_CONFIG', { reason: `--ca-file: ${errorText(error)}` });
  }
}

async function carryOut({ name, args, isJson }: Command): Promise<number> {
  const { stdout: output, stderr: errors } = process;
  if (name === 'version') {
    output.write(`${agentVersion}\n`);
    return 0;
  }
  const config = agentSettings.read(args, process.env);
  if (config === 'help') {
    output.write(agentSettings.help());
    return 0;
  }
  const clock = createSystemClock();
  const print = { isJson, output, errors };
  if (name === 'status') return runStatus(statusSocketPath(config, surroundings), clock, print);
  const redactor = createRedactor();
  const log = createLog({ program: 'agent', level: 'silent', redactor });
  const { ffmpegPath, packagedFfmpeg } = config;
  const children = createChildSpawner({ clock, log, redactor, environmentOf: ffmpegEnvironment(packagedFfmpeg) });
  const { spawn } = children;
  const isColoured = Boolean(output.isTTY) && !process.env.NO_COLOR;
  const work =
    name === 'devices'
      ? runDevices(() => findDevices({ ffmpegPath, packagedFfmpeg, spawn, clock, log }), print)
      : runDoctor(needsOf(config, { surroundings, spawn, clock, log, redactor }), isColoured, print);
  return work.finally(() => children.close());
}

outliveReader(process.stdout);
outliveReader(process.stderr);
try {
  const command = parseCommand(process.argv.slice(2));
  if (command.name !== 'run') process.exit(await carryOut(command));
  await runProgram(
    {
      read: (_args, environment) => agentSettings.read(command.args, environment),
      describe: (_args, environment) => agentSettings.describe(command.args, environment),
      help: agentSettings.help,
    },
    run,
  );
} catch (error) {
  process.stderr.write(`${asGlasscastError(error).message}\n`);
  process.exit(1);
}
