/** How glasses get in: a one-time code for their user, and the commands that take it. Shown by itself while there are none. */
import { byId, copyButton, errorText, setText } from './elements.ts';
import { clockTime } from './formatting.ts';
import type { RelayLink } from './relay-link.ts';
import { enrolCommands } from './snippets.ts';

export interface FirstStepsView {
  render(hasGlasses: boolean, isConnected: boolean): void;
  /** A code is for who sees it once. */
  forget(): void;
}

export function createFirstStepsView(link: () => RelayLink | undefined, changed: () => void): FirstStepsView {
  const form = byId<HTMLFormElement>('enrol-form');
  const email = byId<HTMLInputElement>('enrol-email');
  const problem = byId('enrol-problem');
  let isOpen = false;

  function showCode(code: string | undefined, expiresAt?: string): void {
    const { simulate, agent } = enrolCommands(location.origin, code);
    setText(byId('simulate-command'), simulate);
    setText(byId('agent-command'), agent);
    const until = expiresAt ? `, good until ${clockTime(Date.parse(expiresAt)).slice(0, 5)}` : '';
    setText(byId('enrol-code'), code ? `The code is ${code}${until}; it works once.` : '');
  }

  form.addEventListener('submit', (event) => {
    event.preventDefault();
    setText(problem, '');
    link()
      ?.enrol(email.value.trim())
      .then(({ code, expiresAt }) => showCode(code, expiresAt))
      .catch((error: unknown) => setText(problem, errorText(error)));
  });
  function toggle(): void {
    isOpen = !isOpen;
    changed();
  }
  byId('add-glasses').addEventListener('click', () => {
    toggle();
    if (!isOpen) return;
    requestAnimationFrame(() => email.focus());
  });
  byId('first-steps-close').addEventListener('click', toggle);
  for (const id of ['simulate-command', 'agent-command']) {
    byId(id).after(copyButton('Copy the command', () => byId(id).textContent ?? ''));
  }
  showCode(undefined);

  return {
    render(hasGlasses, isConnected) {
      byId('first-steps').hidden = hasGlasses ? !isOpen : !isConnected;
      byId('first-steps-close').hidden = !hasGlasses;
      setText(byId('first-steps-title'), hasGlasses ? 'Let more glasses in' : 'No glasses are connected');
      byId('add-glasses').setAttribute('aria-expanded', String(isOpen));
    },
    forget() {
      isOpen = false;
      form.reset();
      setText(problem, '');
      showCode(undefined);
    },
  };
}
