/** Hears keys for the whole page and says which shortcut was meant; what has the focus comes first. */
import { type PressedKey, type ShortcutName, shortcutOf } from './shortcuts.ts';

export function startKeyboard(act: Record<ShortcutName, () => void>): void {
  document.addEventListener('keydown', (event) => {
    const isModified = event.ctrlKey || event.altKey || event.metaKey;
    const name = shortcutOf({ key: event.key, isModified, focus: focusOf(document.activeElement) });
    if (!name || event.defaultPrevented) return;
    event.preventDefault();
    act[name]();
  });
}

function focusOf(element: Element | null): PressedKey['focus'] {
  if (document.querySelector('dialog[open]')) return 'dialog';
  if (!element || element === document.body) return 'page';
  if (element.matches('textarea, input:not([type=checkbox])')) return 'text';
  if (element.closest('#glasses')) return 'glasses';
  return element.matches('button, a, select, summary, input, video, [tabindex="0"]') ? 'control' : 'page';
}
