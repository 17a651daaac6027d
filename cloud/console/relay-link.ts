/**
 * The console's line to the relay: the operator API over fetch, and its event stream, which reconnects by itself.
 * Events are read with fetch and not EventSource, so that the token stays in a header and out of addresses and logs.
 */
import type {
  EndedStream,
  Explanation,
  OutputView,
  RecordingList,
  RelayEvent,
  SessionView,
  StartSettings,
  StreamView,
  TimelineEntry,
} from './relay-shapes.ts';

export interface RelayLinkListener {
  /** The whole truth, after each (re)connect. */
  snapshot(sessions: SessionView[], streams: StreamView[]): void;
  event(event: RelayEvent): void;
  /** @param reason in the relay's own words, when it gave one. */
  linked(isLinked: boolean, reason?: string): void;
  /** The token is wrong, or right no more; the link is closed. */
  refused(): void;
}

/** Every call @throws Error with the relay's own sentence, and its HTTP status as the cause. */
export interface RelayLink {
  startStream(userId: string, settings: StartSettings): Promise<unknown>;
  /** The operator stops watching; it ends when nobody else does. */
  stopStream(userId: string): Promise<unknown>;
  /** For everybody who watches. */
  endStream(streamId: string): Promise<unknown>;
  /** An app, or the console itself; the stream ends with its last viewer. */
  removeViewer(streamId: string, packageName: string): Promise<unknown>;
  addOutput(userId: string, output: { url: string; name?: string }): Promise<OutputView>;
  removeOutput(userId: string, outputId: string): Promise<unknown>;
  timeline(streamId: string): Promise<{ entries: TimelineEntry[] }>;
  explain(streamId: string): Promise<Explanation>;
  ended(): Promise<{ streams: EndedStream[] }>;
  recordings(): Promise<RecordingList>;
  deleteRecording(uid: string): Promise<unknown>;
  /** A code that lets one pair of glasses in, once, as this user's. */
  enrol(email: string): Promise<{ code: string; expiresAt?: string }>;
  close(): void;
}

const UNREACHABLE = 'The relay cannot be reached; try again when it is back.';
const RETRY_MS = 1000;
/** The relay sends a comment each 15 s; a line that is silent for this long is dead. */
const SILENCE_MS = 40_000;
const CALL_TIMEOUT_MS = 30_000;

export function createRelayLink(token: string, listener: RelayLinkListener): RelayLink {
  const headers = { authorization: `Bearer ${token}` };
  const closing = new AbortController();

  function refuse(): void {
    if (closing.signal.aborted) return;
    closing.abort();
    listener.refused();
  }

  async function call<Result>(method: string, path: string, body?: object): Promise<Result> {
    const response = await fetch(path, {
      method,
      headers: body ? { ...headers, 'content-type': 'application/json' } : headers,
      ...(body ? { body: JSON.stringify(body) } : {}),
      signal: AbortSignal.any([closing.signal, AbortSignal.timeout(CALL_TIMEOUT_MS)]),
    }).catch((error: unknown) => {
      if (closing.signal.aborted) throw error;
      throw new Error(UNREACHABLE);
    });
    const answer = (await response.json().catch(() => ({}))) as { message?: string };
    if (response.status === 401) refuse();
    if (!response.ok) {
      throw new Error(answer.message ?? `The relay answered ${response.status}`, { cause: response.status });
    }
    return answer as Result;
  }

  /** Ends with the line, in whatever way. */
  async function listen(): Promise<void> {
    const line = new AbortController();
    const signal = AbortSignal.any([closing.signal, line.signal]);
    let silence = setTimeout(() => line.abort(), SILENCE_MS);
    try {
      const response = await fetch('/api/events', { headers, signal });
      if (response.status === 401) return refuse();
      if (!response.ok || !response.body) {
        const { message } = (await response.json().catch(() => ({}))) as { message?: string };
        throw new Error(message ?? `The relay answered ${response.status}`);
      }
      const [{ sessions }, { streams }] = await Promise.all([
        call<{ sessions: SessionView[] }>('GET', '/api/sessions'),
        call<{ streams: StreamView[] }>('GET', '/api/streams'),
      ]);
      listener.snapshot(sessions, streams);
      listener.linked(true);
      const heard = () => {
        clearTimeout(silence);
        silence = setTimeout(() => line.abort(), SILENCE_MS);
      };
      for await (const data of eventData(response.body, heard)) listener.event(JSON.parse(data) as RelayEvent);
    } finally {
      clearTimeout(silence);
      line.abort();
    }
  }

  async function run(): Promise<void> {
    while (!closing.signal.aborted) {
      const reason = await listen().catch((error: unknown) => error);
      if (closing.signal.aborted) return;
      // A failed fetch is a TypeError, whose words are the browser's.
      const isTheirs = reason instanceof Error && reason.name === 'Error' && reason.message !== UNREACHABLE;
      listener.linked(false, isTheirs ? reason.message : undefined);
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  void run();
  const ofUser = (userId: string) => `/api/users/${encodeURIComponent(userId)}/managed-stream`;
  const ofStream = (streamId: string) => `/api/streams/${encodeURIComponent(streamId)}`;
  return {
    startStream: (userId, settings) => call('POST', ofUser(userId), settings),
    stopStream: (userId) => call('DELETE', ofUser(userId)),
    endStream: (streamId) => call('DELETE', ofStream(streamId)),
    removeViewer: (streamId, name) => call('DELETE', `${ofStream(streamId)}/viewers/${encodeURIComponent(name)}`),
    addOutput: (userId, output) => call('POST', `${ofUser(userId)}/outputs`, output),
    removeOutput: (userId, outputId) => call('DELETE', `${ofUser(userId)}/outputs/${encodeURIComponent(outputId)}`),
    explain: (streamId) => call('GET', `${ofStream(streamId)}/explain`),
    timeline: (streamId) => call('GET', `${ofStream(streamId)}/timeline`),
    ended: () => call('GET', '/api/streams/history'),
    recordings: () => call('GET', '/api/recordings'),
    deleteRecording: (uid) => call('DELETE', `/api/recordings/${encodeURIComponent(uid)}`),
    enrol: (email) => call('POST', '/api/enrolments', { email }),
    close: () => closing.abort(),
  };
}

/** The `data:` payloads of a text/event-stream body (WHATWG HTML, server-sent events). @param heard at every piece. */
async function* eventData(body: ReadableStream<Uint8Array>, heard: () => void): AsyncGenerator<string> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    heard();
    const blocks = (rest + decoder.decode(value, { stream: true })).split('\n\n');
    rest = blocks.pop() ?? '';
    for (const block of blocks) {
      const lines = block.split('\n').filter((line) => line.startsWith('data:'));
      if (lines.length > 0) yield lines.map((line) => line.slice(5).trimStart()).join('\n');
    }
  }
}
