import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  complaintOf,
  debugfsPlan,
  listedEntries,
  pathsOf,
  quoted,
  roomOf,
  statedNode,
} from '../../scripts/flash/debugfs-commands.ts';
import type { TreeChange } from '../../scripts/flash/root-tree.ts';

const file = (path: string, mode = 0o600): TreeChange => ({ kind: 'file', path, mode, content: Buffer.from('x') });

test('folders above are made once, files are removed before they are written, and all is owned by root', () => {
  const changes = [file('/etc/a b/one'), file('/etc/a b/two', 0o644)];
  expect(pathsOf(changes)).toEqual(['/etc', '/etc/a b', '/etc/a b/one', '/etc/a b/two']);
  const { commands, sources } = debugfsPlan(
    changes,
    new Map([
      ['/etc', 'folder'],
      ['/etc/a b/two', 'file'],
    ]),
  );
  expect(commands).toEqual([
    'mkdir "/etc/a b"',
    'set_inode_field "/etc/a b" mode 040755',
    'set_inode_field "/etc/a b" uid 0',
    'set_inode_field "/etc/a b" gid 0',
    'write source-0 "/etc/a b/one"',
    'set_inode_field "/etc/a b/one" mode 0100600',
    'set_inode_field "/etc/a b/one" uid 0',
    'set_inode_field "/etc/a b/one" gid 0',
    'rm "/etc/a b/two"',
    'write source-1 "/etc/a b/two"',
    'set_inode_field "/etc/a b/two" mode 0100644',
    'set_inode_field "/etc/a b/two" uid 0',
    'set_inode_field "/etc/a b/two" gid 0',
  ]);
  expect([...sources.keys()]).toEqual(['source-0', 'source-1']);
});

test('what is removed goes from the bottom up, and can be made anew', () => {
  const present = new Map([
    ['/v', 'folder'],
    ['/v/new', 'folder'],
    ['/v/new/keys', 'folder'],
    ['/v/new/keys/a', 'file'],
    ['/v/news', 'file'],
  ] as const);
  const { commands } = debugfsPlan(
    [
      { kind: 'removal', path: '/v/new' },
      { kind: 'folder', path: '/v/new', mode: 0o700 },
    ],
    present,
  );
  expect(commands.slice(0, 4)).toEqual([
    'rm "/v/new/keys/a"',
    'rmdir "/v/new/keys"',
    'rmdir "/v/new"',
    'mkdir "/v/new"',
  ]);
  expect(debugfsPlan([{ kind: 'removal', path: '/none' }], present).commands).toEqual([]);
});

test('links are made anew; a link to a folder serves as a folder', () => {
  const present = new Map([
    ['/lib', 'link'],
    ['/lib/l', 'link'],
  ] as const);
  const { commands } = debugfsPlan([{ kind: 'link', path: '/lib/l', target: '../t' }], present);
  expect(commands).toEqual(['rm "/lib/l"', 'symlink "/lib/l" "../t"']);
});

test.each([
  [[file('/etc')], '/etc is a folder'],
  [[file('/f/x')], '/f is no folder'],
])('nothing takes the place of something else', (changes, words) => {
  expect(() =>
    debugfsPlan(
      changes,
      new Map([
        ['/etc', 'folder'],
        ['/f', 'file'],
      ] as const),
    ),
  ).toThrow(words);
});

test('a path stays one word on one line, whatever is in it', () => {
  expect(quoted('/etc/my "own" file\'s')).toBe('"/etc/my ""own"" file\'s"');
  expect(() => quoted('/etc/a\nrm /b')).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' }));
  fc.assert(
    fc.property(fc.string({ maxLength: 60, unit: 'binary' }), (path) => {
      let text: string;
      try {
        text = quoted(path);
      } catch {
        expect(path).toMatch(/\p{Cc}/u);
        return;
      }
      expect(text.slice(1, -1).replaceAll('""', '')).not.toContain('"');
      expect(text.slice(1, -1).replaceAll('""', '"')).toBe(path);
    }),
  );
});

test('answers of debugfs 1.47', () => {
  const listing =
    '/12/040755/0/0/.//\n/2/040755/0/0/..//\n/13/100600/0/7/a"b /c/3/\n/17/120777/0/0/l/6/\n/0/100644/0/0/gone/1/\n\n';
  expect(listedEntries(listing)).toEqual([
    { name: 'a"b /c', kind: 'file', mode: 0o600, uid: 0, gid: 7, bytes: 3 },
    { name: 'l', kind: 'link', mode: 0o777, uid: 0, gid: 0, bytes: 6 },
  ]);
  expect(listedEntries('/2/040755/0/0/etc//\n')).toMatchObject([{ kind: 'folder', bytes: 0 }]);
  const stat =
    'Inode: 14   Type: regular    Mode:  0600   Flags: 0x80000\nUser:     0   Group:     0   Project:     0   Size: 7\n';
  expect(statedNode(stat)).toEqual({ kind: 'file', mode: 0o600, bytes: 7 });
  expect(statedNode('')).toBeUndefined();
  expect(
    roomOf('Free blocks:              17830\nFree inodes:              5094\nBlock size:               1024\n'),
  ).toEqual({ freeBytes: 18_257_920, freeInodes: 5094 });
  expect(roomOf('')).toBeUndefined();
  expect(complaintOf(['debugfs 1.47.0 (5-Feb-2023)', 'write: Ext2 file already exists '])).toBe(
    'write: Ext2 file already exists ',
  );
  expect(complaintOf(['debugfs 1.47.0 (5-Feb-2023)', ''])).toBeUndefined();
});
