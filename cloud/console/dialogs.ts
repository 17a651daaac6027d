/** The page's two small dialogs: a question with one or two ways to say yes, and the list of keys. */
import { byId, make } from './elements.ts';
import { shortcuts } from './shortcuts.ts';

export interface Question {
  title: string;
  text: string;
  answers: readonly { value: string; label: string; isDangerous?: boolean }[];
}

/** The value of the answer; undefined when it was closed. One question at a time. */
export function ask({ title, text, answers }: Question): Promise<string | undefined> {
  const dialog = byId<HTMLDialogElement>('question');
  const cancel = make('button', { value: '' }, 'Cancel');
  const buttons = answers.map(({ value, label, isDangerous }) =>
    make('button', { value, class: isDangerous ? 'danger' : 'primary' }, label),
  );
  const form = make(
    'form',
    { method: 'dialog' },
    make('h2', { id: 'question-title' }, title),
    make('p', {}, text),
    make('div', { class: 'answers' }, cancel, ...buttons),
  );
  dialog.replaceChildren(form);
  dialog.returnValue = '';
  dialog.showModal();
  buttons[0]?.focus();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue || undefined), { once: true });
  });
}

export function startShortcutList(): { open: () => void } {
  const dialog = byId<HTMLDialogElement>('shortcuts');
  const rows = shortcuts.flatMap(({ shown, about }) => [
    make('dt', {}, ...shown.split(' or ').flatMap((key, at) => [...(at ? [' or '] : []), make('kbd', {}, key)])),
    make('dd', {}, about),
  ]);
  dialog.append(
    make('h2', { id: 'shortcuts-title' }, 'Keys'),
    make('dl', {}, ...rows),
    make('form', { method: 'dialog' }, make('button', {}, 'Close')),
  );
  const open = () => {
    if (!document.querySelector('dialog[open]')) dialog.showModal();
  };
  byId('keys').addEventListener('click', open);
  return { open };
}
