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

/** As operators see it: by scheme and host, with who added it. */
export interface OperatorOutput extends OutputStatus {
  outputId: string;
  /** Package name. */
  addedBy: string;
}

export function operatorOutput(output: RestreamOutput): OperatorOutput {
  const { outputId, name, addedBy, state, error } = output;
  return {
    ...{ outputId, url: urlFor('', output), addedBy, status: statusOf[state] },
    ...(name === undefined ? {} : { name }),
    ...(error === undefined ? {} : { error }),
  };
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
