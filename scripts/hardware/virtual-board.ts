/**
 * A board that is a process: QEMU with Debian's kernel, the camera and sound card that the kernel pretends, and knobs for what a
 * hand does to a real one: network cable, heat, battery, power. Owns that process and its sockets; knows nothing of the agent.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Child } from '../../shared/child-process.ts';
import { findOnPath } from '../../shared/child-process.ts';
import { withTimeout } from '../../shared/clock.ts';
import { GlasscastError } from '../../shared/errors.ts';
import { freePort } from '../bench/free-port.ts';
import type { Bench } from '../bench/program.ts';
import type { BoardImage } from './board-image.ts';
import { type ControlSocket, openControlSocket } from './control-socket.ts';
import { SHELL_PORT } from './guest-files.ts';
import { awaitGuest, type GuestShell, openGuestShell } from './guest-shell.ts';

/** Where the board finds the loopback of this machine. */
export const HOST_AS_SEEN_BY_BOARD = '10.0.2.2';

export interface VirtualBoard {
  readonly shell: GuestShell;
  /** Of its sshd, on 127.0.0.1. */
  readonly sshPort: number;
  readonly pid: number | undefined;
  /** Whether the light on its front is lit, as the hardware has it, and each change since the start. */
  readonly isLit: boolean;
  readonly lightChanges: readonly { atMs: number; isLit: boolean }[];
  /** The cable of its network: pulled or plugged. */
  setLink(isUp: boolean): Promise<void>;
  setTemperature(celsius: number): Promise<void>;
  setBattery(percent: number, isCharging: boolean): Promise<void>;
  /** As by its power button; resolves when it is off. @throws GlasscastError BOARD_UNREACHABLE: not in time */
  powerOff(): Promise<void>;
  /** Without a warning to anybody. */
  powerCut(): Promise<void>;
}

export interface VirtualBoardOptions {
  image: Pick<BoardImage, 'kernel' | 'firstFileSystem' | 'hardwareTable'>;
  /** Written to; nothing else has it open. */
  disk: string;
}

const MEMORY_MB = 1024;
const BOOT_TIMEOUT_MS = 180_000;
const POWER_OFF_TIMEOUT_MS = 60_000;
/** Bit 0 of a keyboard's lights, as QEMU's PS/2 keyboard is told. */
const SCROLL_LOCK = 1;
const KNOBS_PORT = 0xe0;

/** Resolves when its root shell answers. @throws GlasscastError CHILD_START_FAILED, BOARD_UNREACHABLE */
export async function bootVirtualBoard(bench: Bench, options: VirtualBoardOptions): Promise<VirtualBoard> {
  const { clock, spawn } = bench;
  const file = findOnPath('qemu-system-x86_64');
  if (file === undefined) {
    const reason = 'qemu-system-x86_64 is not installed here (Debian: apt-get install qemu-system-x86)';
    throw new GlasscastError('CHILD_START_FAILED', { reason });
  }
  const sshPort = await freePort();
  const sockets = { monitor: join(bench.folder, 'monitor.sock'), shell: join(bench.folder, 'shell.sock') };
  for (const path of Object.values(sockets)) await rm(path, { force: true });
  const lightChanges: { atMs: number; isLit: boolean }[] = [];
  const noteLight = (line: string) => {
    const state = /ps2_set_ledstate .* ledstate (\d+)/.exec(line)?.[1];
    if (state === undefined) return bench.note(line);
    const isLit = (Number(state) & SCROLL_LOCK) !== 0;
    if (isLit !== (lightChanges.at(-1)?.isLit ?? false)) lightChanges.push({ atMs: clock.monotonicMs(), isLit });
  };
  const child = spawn({
    ...{ name: 'board', file, args: qemuArgs(options, sockets, sshPort, join(bench.folder, 'console.log')) },
    // Its traces go to either, by version.
    ...{ stdout: 'lines', onStdoutLine: noteLight, onStderrLine: noteLight, stopSignal: 'SIGKILL' },
  });
  const died = child.exited.then(({ lastLines }): never => {
    throw new GlasscastError('CHILD_START_FAILED', { reason: `board: ${lastLines.at(-1) ?? 'it ended'}` });
  });
  died.catch(() => {});
  const monitor = await Promise.race([openMonitor(sockets.monitor, bench), died]);
  const shell = await openGuestShell(sockets.shell, clock);
  try {
    await Promise.race([awaitGuest(shell, clock, BOOT_TIMEOUT_MS), died]);
  } catch (error) {
    child.kill();
    throw error;
  }
  return {
    ...{ shell, sshPort, pid: child.pid, lightChanges, ...knobs(monitor) },
    get isLit() {
      return lightChanges.at(-1)?.isLit ?? false;
    },
    async powerOff() {
      await monitor.ask('system_powerdown');
      const late = () => new GlasscastError('BOARD_UNREACHABLE', { reason: 'it does not power off' });
      await withTimeout(clock, 'power-off', POWER_OFF_TIMEOUT_MS, ended(child), late).finally(() => child.kill());
    },
    async powerCut() {
      child.kill();
      await ended(child);
    },
  };
}

const ended = async (child: Child): Promise<void> => void (await child.exited);

function qemuArgs(
  { image, disk }: VirtualBoardOptions,
  { monitor, shell }: { monitor: string; shell: string },
  sshPort: number,
  consoleFile: string,
): string[] {
  const network = `user,id=net,hostfwd=tcp:127.0.0.1:${sshPort}-:22`;
  return [
    ...['-M', 'q35', '-accel', 'tcg,thread=multi,tb-size=512', '-cpu', 'max', '-smp', '2', '-m', String(MEMORY_MB)],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot', '-serial', `file:${consoleFile}`],
    ...['-kernel', image.kernel, '-initrd', image.firstFileSystem, '-acpitable', `file=${image.hardwareTable}`],
    ...['-append', 'console=ttyS0 quiet loglevel=4 mitigations=off panic=-1'],
    ...['-drive', `file=${disk},if=none,id=disk,format=raw,cache=writeback`, '-device', 'virtio-blk-pci,drive=disk'],
    ...['-netdev', network, '-device', 'virtio-net-pci,netdev=net,id=card,romfile='],
    ...['-chardev', `socket,id=shell,path=${shell},server=on,wait=off`, '-device', 'virtio-serial-pci'],
    ...['-device', `virtserialport,chardev=shell,name=${SHELL_PORT}`, '-device', 'virtio-rng-pci'],
    ...['-device', 'pc-testdev', '-qmp', `unix:${monitor},server=on,wait=off`, '-trace', 'ps2_set_ledstate'],
  ];
}

interface Monitor {
  /** By QEMU's machine protocol. @throws GlasscastError INTERNAL */
  ask(command: string, args?: object): Promise<void>;
}

const ANSWER_TIMEOUT_MS = 10_000;

async function openMonitor(path: string, { clock }: Bench): Promise<Monitor> {
  const waiting: ((answer: { error?: { desc: string } }) => void)[] = [];
  const socket: ControlSocket = await openControlSocket(path, clock, (line) => {
    const answer = JSON.parse(line) as { return?: unknown; error?: { desc: string } };
    if ('return' in answer || 'error' in answer) waiting.shift()?.(answer);
  });
  const ask = async (command: string, args?: object) => {
    const answered = new Promise<{ error?: { desc: string } }>((resolve) => waiting.push(resolve));
    socket.send(JSON.stringify({ execute: command, ...(args ? { arguments: args } : {}) }));
    const late = () => new GlasscastError('INTERNAL', { reason: `QEMU does not answer ${command}` });
    const { error } = await withTimeout(clock, 'monitor', ANSWER_TIMEOUT_MS, answered, late);
    if (error) throw new GlasscastError('INTERNAL', { reason: `QEMU: ${error.desc}` });
  };
  await ask('qmp_capabilities');
  return { ask };
}

/** The table of the virtual hardware (virtual-hardware.asl) reads what is set here. */
function knobs({ ask }: Monitor): Pick<VirtualBoard, 'setLink' | 'setTemperature' | 'setBattery'> {
  const write = (offset: number, value: number) =>
    ask('human-monitor-command', { 'command-line': `o /w 0x${(KNOBS_PORT + offset).toString(16)} ${value}` });
  return {
    setLink: (up) => ask('set_link', { name: 'card', up }),
    setTemperature: (celsius) => write(0, Math.round((celsius + 273.2) * 10)),
    setBattery: (percent, isCharging) => write(2, percent + (isCharging ? 0x100 : 0)),
  };
}
