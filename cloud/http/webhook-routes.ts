/** Where the provider's webhooks arrive. Passes on header and bytes; who speaks and what it means is told elsewhere. */
import type { FailedAttempts } from '../access/failed-attempts.ts';
import type { ProviderWebhooks } from '../provider/provider-webhooks.ts';
import type { Routes } from './http.ts';
import { servedBy } from './served-by.ts';

/** Only those routes exist whose secret is known. */
export function webhookRoutes(options: {
  webhooks: Pick<ProviderWebhooks, 'accepts' | 'live' | 'recording'>;
  attempts: FailedAttempts;
}): Routes {
  const { webhooks, attempts } = options;
  return (server) => {
    server.register(async (scope) => {
      // A signature is over the bytes, not over what they mean.
      scope.removeAllContentTypeParsers();
      scope.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, parsed) => parsed(null, body));
      const add = (path: string, header: string, take: (proof: string | undefined, body: string) => void) =>
        scope.post(path, servedBy({ by: 'each' }), async ({ body, headers, ip }) => {
          const proof = headers[header];
          await attempts.guard(ip, async () => take(Array.isArray(proof) ? proof[0] : proof, String(body ?? '')));
          return { status: 'ok' };
        });
      if (webhooks.accepts.live) add('/webhooks/cloudflare/live', 'cf-webhook-auth', webhooks.live);
      if (webhooks.accepts.recording) add('/webhooks/cloudflare/recording', 'webhook-signature', webhooks.recording);
    });
  };
}
