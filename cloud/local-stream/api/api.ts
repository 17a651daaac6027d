/**
 * Cloudflare's Stream Live REST API over our live inputs and videos: who is let in, the envelope of what goes wrong, and which
 * routes lie where. Translates only; every rule lies in the registry, the library and with the webhooks.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { FastifyInstance, FastifyPluginCallback, FastifyReply, FastifyRequest } from 'fastify';
import { errorText } from '../../../shared/errors.ts';
import type { Log } from '../../../shared/log.ts';
import type { Secret } from '../../../shared/secrets.ts';
import { fail, failures, succeed } from './envelope.ts';
import { type LiveInputRoutesOptions, liveInputRoutes, outputRoutes } from './live-input-routes.ts';
import { alertRoutes, type NotificationRoutesOptions, webhookRoutes } from './notification-routes.ts';
import type { RequestLimit } from './request-limit.ts';
import { signingKeyRoutes, uploadRoutes, type VideoRoutesOptions, videoRoutes } from './video-routes.ts';

export interface ApiOptions extends LiveInputRoutesOptions, VideoRoutesOptions, NotificationRoutesOptions {
  registry: LiveInputRoutesOptions['registry'];
  library: LiveInputRoutesOptions['library'] & VideoRoutesOptions['library'];
  apiToken: Secret;
  accountId: string;
  log: Log;
  /** Undefined: no limit. */
  requestLimit?: RequestLimit | undefined;
}

export const apiPrefix = '/client/v4';

/** To be registered under `apiPrefix`. `addresses` are asked for only once both ports listen. */
export function createApi(options: ApiOptions): FastifyPluginCallback {
  return (app, _, done) => {
    // An empty body is a body here: clients send DELETE and PUT with a JSON content type and nothing else.
    app.removeContentTypeParser(['application/json', 'text/plain']);
    app.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, parsed) => {
      try {
        parsed(null, body === '' ? undefined : JSON.parse(String(body)));
      } catch {
        parsed(Object.assign(new Error('not JSON'), { statusCode: 400 }));
      }
    });
    app.addHook('onRequest', createDoor(options));
    app.setNotFoundHandler((_request, reply) => fail(reply, failures.noRoute));
    app.setErrorHandler((error, request, reply) => {
      const status = (error as { statusCode?: number }).statusCode ?? 500;
      if (status < 500) return fail(reply, failures.badBody);
      options.log.error({ method: request.method, cause: errorText(error) }, 'api-failed');
      return fail(reply, failures.internal);
    });
    accountRoutes(app, options);
    done();
  };
}

/**
 * For the server that the API lies on: an address that no router takes (a broken %, an id beyond all length) gets the API's own
 * answer below `apiPrefix`, and a plain one elsewhere.
 */
export function answerUnroutable(_error: unknown, request: { url: string }, reply: FastifyReply): void {
  if (request.url.startsWith(`${apiPrefix}/`)) void fail(reply, failures.noRoute);
  else void reply.code(404).type('text/plain').send('NotFound');
}

/** Whether a request names this token. Digests have one length, so the comparison takes one time. */
export function bearerOf(apiToken: Secret): (request: Pick<FastifyRequest, 'headers'>) => boolean {
  const expected = digest(`Bearer ${apiToken.reveal()}`);
  return ({ headers }) => timingSafeEqual(digest(headers.authorization ?? ''), expected);
}

/** Before any byte of a body is looked at. */
function createDoor({ apiToken, accountId, requestLimit }: ApiOptions) {
  const isKnownBy = bearerOf(apiToken);
  return async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply | undefined> => {
    const isVerification = request.routeOptions.url?.endsWith('/tokens/verify');
    if (!isKnownBy(request)) return fail(reply, isVerification ? failures.invalidToken : failures.unauthorized);
    const limit = requestLimit?.take();
    if (limit) void reply.headers(limit.headers);
    if (limit && !limit.isAllowed) return fail(reply, failures.rateLimited);
    const { account } = request.params as { account?: string };
    if (account !== undefined && account !== accountId) return fail(reply, failures.noRoute);
    return undefined;
  };
}

function accountRoutes(app: FastifyInstance, options: ApiOptions): void {
  // Of a token nothing is told but that it is good.
  const verified = succeed(
    { id: digest(options.accountId).toString('hex').slice(0, 32), status: 'active' },
    { messages: [{ code: 10000, message: 'This API Token is valid and active' }] },
  );
  app.get('/user/tokens/verify', (_, reply) => reply.send(verified));
  app.get('/accounts/:account/tokens/verify', (_, reply) => reply.send(verified));
  app.register(
    (stream, _none, ready) => {
      liveInputRoutes(stream, options);
      outputRoutes(stream, options);
      webhookRoutes(stream, options);
      signingKeyRoutes(stream, options);
      uploadRoutes(stream);
      videoRoutes(stream, options);
      ready();
    },
    { prefix: '/accounts/:account/stream' },
  );
  app.register(
    (alerting, _none, ready) => {
      alertRoutes(alerting, options);
      ready();
    },
    { prefix: '/accounts/:account/alerting/v3' },
  );
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
