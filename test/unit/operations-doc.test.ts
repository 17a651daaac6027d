import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { relaySettings } from '../../cloud/config.ts';
import { localStreamSettings } from '../../cloud/local-stream/config.ts';
import { commandLine } from '../../scripts/cli/command-line.ts';

const text = readFileSync(new URL('../../cloud/OPERATIONS.md', import.meta.url), 'utf8');
const named = (pattern: RegExp) => [...new Set([...text.matchAll(pattern)].map(([, name = '']) => name))];
const nowhere = { write: () => true };
const { commands } = commandLine({ environment: {}, output: nowhere, errors: nowhere });
const settings = [...relaySettings.list(), ...localStreamSettings.list()];

describe('the page for operators', () => {
  it('names only settings that exist', () => {
    const known = new Set(settings.map(({ environmentName }) => environmentName));
    const names = named(/\b(GLASSCAST_[A-Z_]+[A-Z])\b/g);
    expect(names.length).toBeGreaterThan(5);
    expect(names.filter((name) => !known.has(name))).toEqual([]);
  });

  it('names only flags that exist', () => {
    const known = new Set(settings.map(({ flag }) => `--${flag}`));
    for (const group of commands) {
      for (const command of group.commands) for (const { long } of command.options) if (long) known.add(long);
    }
    const foreign = ['--import', '--signal', '--glasses', '--streams', '--relay'];
    expect(
      named(/`[^`\n]*?(--[a-z][a-z-]*[a-z])\b/g).filter((flag) => !known.has(flag) && !foreign.includes(flag)),
    ).toEqual([]);
  });

  it('names only commands that exist', () => {
    const known = commands.flatMap((group) => [
      group.name(),
      ...group.commands.map((command) => `${group.name()} ${command.name()}`),
    ]);
    const names = named(/`glasscast ([a-z-]+ [a-z-]+)/g);
    expect(names.length).toBeGreaterThan(1);
    expect(names.filter((name) => !known.includes(name))).toEqual([]);
  });
});
