/** The operator's REST of recordings. Behind the admin token; which ones are ours is known at the provider's side. */
import type { Recordings } from '../provider/recordings.ts';
import type { Routes } from './http.ts';

export function recordingRoutes({ recordings }: { recordings: Recordings }): Routes {
  return (server) => {
    server.get('/api/recordings', async () => recordings.list());
    server.delete<{ Params: { uid: string } }>('/api/recordings/:uid', async ({ params }, reply) => {
      await recordings.remove(params.uid);
      return reply.code(204).send();
    });
  };
}
