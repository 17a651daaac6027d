/**
 * The real `@mentra/sdk`, unmodified, as a process of its own (its `stop()` ends the process it runs in).
 * Parent → child: {id, call, options}. Child → parent: {ready}, {session}, {id, value | error}, {event}.
 */
import { AppServer, type AppSession } from '@mentra/sdk';

const [packageName = '', apiKey = '', port = ''] = process.argv.slice(2);
const say = (message: object) => process.send?.(message);

class App extends AppServer {
  #session: AppSession | undefined;

  protected override async onSession(session: AppSession, sessionId: string, userId: string): Promise<void> {
    this.#session = session;
    session.camera.onManagedStreamStatus((status) => say({ event: 'managed-status', status }));
    session.events.onError((error) => say({ event: 'error', message: error.message }));
    say({ session: { sessionId, userId } });
  }

  protected override async onStop(_sessionId: string, _userId: string, reason: string): Promise<void> {
    say({ event: 'stopped', reason });
  }

  async call(name: string, options: never): Promise<unknown> {
    const camera = this.#session?.camera;
    if (!camera) throw new Error('no session yet');
    switch (name) {
      case 'startManagedStream':
        return camera.startManagedStream(options);
      case 'stopManagedStream':
        return camera.stopManagedStream();
      case 'checkExistingStream':
        return camera.checkExistingStream();
      case 'isManagedStreamActive':
        return camera.isManagedStreamActive();
      default:
        throw new Error(`no such call: ${name}`);
    }
  }
}

const app = new App({ packageName, apiKey, port: Number(port), publicDir: false });
process.on('message', ({ id, call, options }: { id: number; call: string; options: never }) => {
  app.call(call, options).then(
    (value) => say({ id, value: value ?? null }),
    (error: unknown) => say({ id, error: error instanceof Error ? error.message : String(error) }),
  );
});
process.on('disconnect', () => process.exit(0));
await app.start();
say({ ready: true });
