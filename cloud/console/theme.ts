/** Light, dark, or as the system has it; the choice stays in this browser. */
import { byId } from './elements.ts';

const KEY = 'glasscast.theme';
const themes = ['auto', 'light', 'dark'] as const;
type Theme = (typeof themes)[number];
const names: Record<Theme, string> = { auto: 'Auto', light: 'Light', dark: 'Dark' };

export function startTheme(): void {
  const button = byId<HTMLButtonElement>('theme');
  let theme = kept();

  function apply(): void {
    document.documentElement.dataset.theme = theme;
    button.textContent = `Theme: ${names[theme].toLowerCase()}`;
    button.setAttribute('aria-label', `Theme: ${names[theme].toLowerCase()}. Press for the next.`);
  }
  button.addEventListener('click', () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length] ?? 'auto';
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // Private windows may keep nothing; the choice then lasts as long as the page.
    }
    apply();
  });
  apply();
}

function kept(): Theme {
  try {
    return themes.find((theme) => theme === localStorage.getItem(KEY)) ?? 'auto';
  } catch {
    return 'auto';
  }
}
