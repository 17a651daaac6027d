/** The door: the admin token from the address or typed, kept in this tab until it is refused or handed back. */
import { byId, setText } from './elements.ts';

const TOKEN_KEY = 'glasscast.adminToken';

export interface LoginView {
  /** The one in the address or the kept one. */
  firstToken(): string | undefined;
  accepted(token: string): void;
  /** The typed token was not looked at yet. */
  waiting(why: string): void;
  /** Forgets the token. @param problem why, if anything is wrong. */
  askForToken(problem: string): void;
}

export function createLoginView(open: (token: string) => void): LoginView {
  const field = byId<HTMLInputElement>('token');
  byId('login').addEventListener('submit', (event) => {
    event.preventDefault();
    open(field.value.trim());
  });
  // Pasted into a tab that has the page already: browsers do not load it anew for what stands behind #.
  addEventListener('hashchange', () => {
    const given = takeFromAddress();
    if (given) open(given);
  });
  return {
    firstToken: () => takeFromAddress() ?? sessionStorage.getItem(TOKEN_KEY) ?? undefined,
    accepted(token) {
      sessionStorage.setItem(TOKEN_KEY, token);
      const wasAsked = !byId('login').hidden;
      field.value = '';
      byId('login-error').textContent = '';
      showLogin(false);
      if (wasAsked) byId('console').focus();
    },
    waiting(why) {
      if (!byId('login').hidden) setText(byId('login-error'), why);
    },
    askForToken(problem) {
      sessionStorage.removeItem(TOKEN_KEY);
      showLogin(true);
      byId('login-error').textContent = problem;
      field.focus();
    },
  };
}

/** The printed address carries the token behind #, which browsers never send; it leaves the address bar at once. */
function takeFromAddress(): string | undefined {
  const given = new URLSearchParams(location.hash.slice(1)).get('token');
  if (given) history.replaceState(null, '', location.pathname);
  return given ?? undefined;
}

function showLogin(isShown: boolean): void {
  byId('login').hidden = !isShown;
  byId('console').hidden = isShown;
  byId('logout').hidden = isShown;
  byId('keys').hidden = isShown;
  byId('link').hidden = isShown;
}
