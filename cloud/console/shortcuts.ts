/** Which key means what. Pure; the keys are listed in the page from the same table. */

export type ShortcutName = 'live' | 'mute' | 'fullScreen' | 'next' | 'previous' | 'search' | 'help';

export const shortcuts: readonly { name: ShortcutName; keys: readonly string[]; shown: string; about: string }[] = [
  { name: 'live', keys: [' '], shown: 'Space', about: 'Go live, or stop (asks first)' },
  { name: 'mute', keys: ['m'], shown: 'M', about: 'Sound on or off, in this page' },
  { name: 'fullScreen', keys: ['f'], shown: 'F', about: 'Full screen' },
  { name: 'next', keys: ['j', 'ArrowDown'], shown: 'J or ↓', about: 'Next glasses' },
  { name: 'previous', keys: ['k', 'ArrowUp'], shown: 'K or ↑', about: 'Previous glasses' },
  { name: 'search', keys: ['/'], shown: '/', about: 'Find glasses' },
  { name: 'help', keys: ['?'], shown: '?', about: 'This list' },
];

export interface PressedKey {
  key: string;
  /** Ctrl, Alt or Meta is held. */
  isModified: boolean;
  /** What has the focus, as far as it matters: what takes text keeps all keys, other controls keep theirs. */
  focus: 'page' | 'text' | 'control' | 'dialog' | 'glasses';
}

/** Undefined when the key is not ours there. */
export function shortcutOf({ key, isModified, focus }: PressedKey): ShortcutName | undefined {
  if (isModified || focus === 'text' || focus === 'dialog') return undefined;
  const found = shortcuts.find(({ keys }) => keys.includes(key.length === 1 ? key.toLowerCase() : key))?.name;
  const isNative = key === ' ' || key.startsWith('Arrow');
  if (focus === 'control' && isNative) return undefined;
  if (focus === 'glasses' && key === ' ') return undefined;
  return found;
}
