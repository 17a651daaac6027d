/** What anybody may ask: health, and what an app may do. */
import type { AppCatalog } from '../apps/app-catalog.ts';
import type { Routes } from './http.ts';

export function publicRoutes({
  catalog,
  health,
}: {
  catalog: Pick<AppCatalog, 'get'>;
  health: () => Record<string, unknown>;
}): Routes {
  return (server) => {
    server.get('/healthz', async () => ({ status: 'ok', ...health() }));
    server.get<{ Params: { packageName: string } }>('/api/public/permissions/:packageName', async ({ params }) => {
      const { packageName, permissions } = await catalog.get(params.packageName);
      return { success: true, packageName, permissions };
    });
  };
}
