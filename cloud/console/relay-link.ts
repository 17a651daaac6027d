/**
 * The console's line to the relay: the operator API over fetch, and its event stream, which reconnects by itself.
 * Events are read with fetch and not EventSource, so that the token stays in a header and out of addresses and logs.
 */

export interface SessionView {
  userId: string;
  connected: boolean;
  modelName?: string;
}

export interface StreamView {
  streamId: string;
  userId: string;
  /** A state of the stream table: provisioning, starting, active, interrupted, stopping, stopped, failed. */
  state: string;
  message?: string;
  viewers?: string[];
  urls?: { hlsUrl: string; dashUrl: string; thumbnailUrl?: string; previewUrl?: string };
  stats?: {
    bitrate?: number;
    fps?: number;
    droppedFrames?: number;
    duration?: number;
    width?: number;
    height?: number;
  };
  liveMs?: number;
}

export type RelayEvent =
  | { type: 'session'; session: SessionView }
  | { type: 'session-ended'; userId: string }
  | { type: 'stream'; stream: StreamView };

export interface RelayLinkListener {
  /** The whole truth, after each (re)connect. */
  snapshot(sessions: SessionView[], streams: StreamView[]): void;
  event(event: RelayEvent): void;
  linked(state: 'connected' | 'reconnecting'): void;
  refused(): void;
}

const RETRY_MS = 1000;

export function createRelayLink(token: string, listener: RelayLinkListener) {
  const headers = { authorization: `Bearer ${token}` };
  const closing = new AbortController();

  /** @throws Error with the relay's own sentence. */
  async function call<Result>(method: string, path: string, body?: object): Promise<Result> {
    const response = await fetch(path, {
      method,
      headers: body ? { ...headers, 'content-type': 'application/json' } : headers,
      ...(body ? { body: JSON.stringify(body) } : {}),
      signal: closing.signal,
    });
    const answer = (await response.json().catch(() => ({}))) as { message?: string };
    if (response.status === 401) listener.refused();
    if (!response.ok) throw new Error(answer.message ?? `The relay answered ${response.status}`);
    return answer as Result;
  }

  async function listen(): Promise<void> {
    const response = await fetch('/api/events', { headers, signal: closing.signal });
    if (response.status === 401) {
      listener.refused();
      closing.abort();
      return;
    }
    if (!response.ok || !response.body) throw new Error(`events: ${response.status}`);
    const [{ sessions }, { streams }] = await Promise.all([
      call<{ sessions: SessionView[] }>('GET', '/api/sessions'),
      call<{ streams: StreamView[] }>('GET', '/api/streams'),
    ]);
    listener.snapshot(sessions, streams);
    listener.linked('connected');
    for await (const data of eventData(response.body)) listener.event(JSON.parse(data) as RelayEvent);
  }

  async function run(): Promise<void> {
    while (!closing.signal.aborted) {
      await listen().catch(() => {});
      if (closing.signal.aborted) return;
      listener.linked('reconnecting');
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  void run();
  return {
    startStream: (userId: string, video: object) =>
      call('POST', `/api/users/${encodeURIComponent(userId)}/managed-stream`, { video }),
    stopStream: (userId: string) => call('DELETE', `/api/users/${encodeURIComponent(userId)}/managed-stream`),
    close: () => closing.abort(),
  };
}

/** The `data:` payloads of a text/event-stream body (WHATWG HTML, server-sent events). */
async function* eventData(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.pipeThrough(new TextDecoderStream() as never).getReader() as ReadableStreamDefaultReader<string>;
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split('\n\n');
    rest = blocks.pop() ?? '';
    for (const block of blocks) {
      const lines = block.split('\n').filter((line) => line.startsWith('data:'));
      if (lines.length > 0) yield lines.map((line) => line.slice(5).trimStart()).join('\n');
    }
  }
}
