/** What anybody may ask: what an app may do. */
import type { AppCatalog } from '../apps/app-catalog.ts';
import type { Routes } from './http.ts';

export function publicRoutes({ catalog }: { catalog: Pick<AppCatalog, 'get'> }): Routes {
  return (server) => {
    server.get<{ Params: { packageName: string } }>('/api/public/permissions/:packageName', async ({ params }) => {
      const { packageName, permissions } = await catalog.get(params.packageName);
      return { success: true, packageName, permissions };
    });
  };
}
