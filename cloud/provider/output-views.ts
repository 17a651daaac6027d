/** Restream outputs as one app may see them: nobody sees the key that another app gave. */
import type { OutputStatus } from '../../shared/protocol/app-messages.ts';
import type { RestreamOutput } from './restream-outputs.ts';

export function outputsFor(appId: string, outputs: readonly RestreamOutput[]): OutputStatus[] {
  return outputs.map((output) => ({
    url: urlFor(appId, output),
    ...(output.name === undefined ? {} : { name: output.name }),
    status: statusOf[output.state],
    ...(output.error === undefined ? {} : { error: output.error }),
  }));
}

/** The whole address for the app that added it, scheme and host for everybody else. */
export function urlFor(appId: string, { addedBy, url }: RestreamOutput): string {
  if (addedBy === appId) return url;
  const [, scheme, host] = /^(rtmps?):\/\/(?:[^/?#]*@)?([^/?#@]+)/i.exec(url) ?? [];
  return scheme && host ? `${scheme}://${host}` : '***';
}

const statusOf = {
  connected: 'active',
  error: 'error',
  disconnected: 'stopped',
  unknown: 'stopped',
} as const satisfies Record<RestreamOutput['state'], OutputStatus['status']>;
