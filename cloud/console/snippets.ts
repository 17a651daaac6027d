/** Texts to copy into an app, a page or a terminal, with the real addresses in them and no secret. Pure. */
import type { PlaybackSources } from './relay-shapes.ts';

export interface Snippet {
  id: 'app' | 'page' | 'operator' | 'player';
  title: string;
  /** What it is for, in a sentence. */
  about: string;
  code: string;
}

export interface SnippetFacts {
  /** Where the page is served from. */
  origin: string;
  userId: string;
  playback: PlaybackSources | undefined;
  video: { width?: number; height?: number; frameRate?: number; bitrate?: number };
}

/** Stands where an address is not known before the first picture. */
const LATER = 'ADDRESS-APPEARS-WHEN-LIVE';

export function snippetsOf(facts: SnippetFacts): Snippet[] {
  const { origin, playback, userId } = facts;
  const hlsUrl = playback?.hlsUrl ?? LATER;
  const path = `${origin}/api/users/${encodeURIComponent(userId)}/managed-stream`;
  return [
    {
      id: 'app',
      title: 'In an app',
      about: 'With @mentra/sdk: the app asks for a stream and hears where it can be watched.',
      code: appCode(facts),
    },
    {
      id: 'page',
      title: 'On a page',
      about: 'The player that comes with the stream, in any web page.',
      code: `<iframe src="${attribute(playback?.previewUrl ?? LATER)}"\n  width="960" height="540" allow="autoplay; fullscreen"></iframe>`,
    },
    {
      id: 'player',
      title: 'In a player',
      about: 'With ffplay or VLC, on any machine that reaches the address.',
      code: [`ffplay -fflags nobuffer ${shellWord(hlsUrl)}`, `vlc ${shellWord(hlsUrl)}`].join('\n'),
    },
    {
      id: 'operator',
      title: 'From a script',
      about: 'The operator API. The admin token comes from the environment: keep it out of scripts.',
      code: operatorCode(path, origin, facts.video),
    },
  ];
}

function appCode({ origin, video }: SnippetFacts): string {
  const { width = 1280, height = 720, frameRate = 30, bitrate } = video;
  const rate = bitrate === undefined ? '' : `, bitrate: ${bitrate}`;
  return `import { env } from 'node:process';
import { AppServer, type AppSession } from '@mentra/sdk';

// Register it first: PUT ${origin}/api/apps/com.example.live
class LiveApp extends AppServer {
  protected override async onSession(session: AppSession) {
    session.camera.onManagedStreamStatus(({ status, message }) => console.log(status, message));
    const { hlsUrl, webrtcUrl } = await session.camera.startManagedStream({
      enableWebRTC: true,
      video: { width: ${width}, height: ${height}, frameRate: ${frameRate}${rate} },
    });
    console.log('Watch it at', webrtcUrl ?? hlsUrl);
  }
}

const app = new LiveApp({ packageName: 'com.example.live', apiKey: env.API_KEY ?? '', port: 3000 });
await app.start();`;
}

function operatorCode(path: string, origin: string, video: SnippetFacts['video']): string {
  const header = '-H "Authorization: Bearer $GLASSCAST_ADMIN_TOKEN"';
  const body = JSON.stringify({ video });
  return [
    '# go live, look, stop',
    `curl -X POST ${header} \\\n  -H 'Content-Type: application/json' -d ${shellWord(body)} \\\n  ${shellWord(path)}`,
    `curl ${header} ${shellWord(`${origin}/api/streams`)}`,
    `curl -X DELETE ${header} \\\n  ${shellWord(path)}`,
  ].join('\n');
}

/** What lets glasses in, where they run. @param code undefined: a word stands for it. */
export function enrolCommands(origin: string, code: string | undefined): { simulate: string; agent: string } {
  const relayUrl = shellWord(`${origin.replace(/^http/, 'ws')}/glasses-ws`);
  const given = `GLASSCAST_AGENT_ENROLMENT_CODE=${shellWord(code ?? 'CODE')}`;
  return {
    simulate: `${given} npm run glasses -- --relay-url ${relayUrl}`,
    agent: `${given} npm run agent -- --source v4l2:auto --relay-url ${relayUrl}`,
  };
}

/** In single quotes, where a shell reads nothing as its own. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

function attribute(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('"', '&quot;').replaceAll('<', '&lt;');
}
