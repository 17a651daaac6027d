/** Calls that end with something that lives much longer than they do. Leaves nothing behind on it. */
import { setMaxListeners } from 'node:events';

/**
 * The controller aborts, with the same reason, when `outer` does, until the returned release; call that when the work is over.
 * `AbortSignal.any` instead would leave a weak reference on `outer` for each call, for as long as `outer` lives.
 */
export function abortWith(controller: AbortController, outer: AbortSignal | undefined): () => void {
  if (outer === undefined) return () => {};
  if (outer.aborted) {
    controller.abort(outer.reason);
    return () => {};
  }
  const onAbort = () => controller.abort(outer.reason);
  // As many as there are calls at a time.
  setMaxListeners(0, outer);
  outer.addEventListener('abort', onAbort, { once: true });
  return () => outer.removeEventListener('abort', onAbort);
}
