/**
 * A pipe that a child writes media to. Read into one buffer of its own: Node's ordinary streams allocate 64 kB for each of
 * 80 small reads a second, which cost more than all else the agent does. Knows nothing of what flows through.
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface MediaPipe {
  /** For the child; whoever spawns it lets go of it afterwards. Not blocking: ffmpeg then waits and tries again. */
  readonly childEnd: Socket;
  /** Reads on after `take` said no. */
  resume(): void;
  /** Settles when the child has closed its end and all was read, or after `close`. */
  readonly ended: Promise<void>;
  close(): void;
}

const BUFFER_BYTES = 65_536;

/**
 * @param take gets a copy of what came; false: reads nothing more until `resume`.
 * @throws an Error of the operating system: no such pipe can be made.
 */
export async function openMediaPipe(take: (bytes: Buffer) => boolean): Promise<MediaPipe> {
  // Only a connecting socket can be given a buffer, so the pipe is a connection to ourselves. The name is gone with the
  // server, a moment later; meanwhile nobody but our own user may connect to it.
  const path = join(tmpdir(), `glasscast-${randomBytes(12).toString('hex')}`);
  const server = createServer({ pauseOnConnect: true });
  try {
    await once(server.listen(path), 'listening');
    const accepted = once(server, 'connection');
    const buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
    const ours = connect({
      path,
      onread: { buffer, callback: (bytes) => take(Buffer.from(buffer.subarray(0, bytes))) },
    });
    ours.on('error', () => {});
    const refused = once(ours, 'close').then(() => {
      throw new Error('the system gives no pipe for media');
    });
    const ended = new Promise<void>((resolve) => ours.once('close', () => resolve()));
    const [childEnd] = (await Promise.race([accepted, refused])) as [Socket];
    childEnd.on('error', () => {});
    return { childEnd, resume: () => void ours.resume(), ended, close: () => void ours.destroy() };
  } finally {
    server.close();
  }
}
