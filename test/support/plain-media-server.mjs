/**
 * node-media-server as it comes, in a process of its own (it holds one instance per process and is killed by the tests).
 * Arguments: port ("0" = any), store folder. Tells its parent when it listens and, in short, each tag that is published.
 */
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const logger = require('node-media-server/src/core/logger.js');
const Context = require('node-media-server/src/core/context.js');
const NodeMediaServer = require('node-media-server/src/index.js');

const [port, store] = process.argv.slice(2);
const server = new NodeMediaServer({ bind: '127.0.0.1', rtmp: { port }, store: { path: store } });
logger.level = 'error';

const tapped = new WeakSet();
server.on('postPublish', (session) => {
  const broadcast = Context.broadcasts.get(session.streamPath);
  if (!broadcast || tapped.has(broadcast)) return;
  tapped.add(broadcast);
  broadcast.postPlay({ id: 'tap', ip: '', protocol: 'flv', sendBuffer: tell });
});

/** An FLV tag, or the FLV file header, which is no tag. */
function tell(tag) {
  const type = tag[0];
  if (type !== 8 && type !== 9) return;
  const timestampMs = tag.readUIntBE(4, 3) + tag[7] * 0x1000000;
  process.send({ type, timestampMs, isHeader: tag[12] === 0, isKey: type === 9 && tag[11] >> 4 === 1, at: Date.now() });
}

server.rtmpServer.tcpServer.on('listening', () => {
  process.send({ port: server.rtmpServer.tcpServer.address().port, at: Date.now() });
});
server.run();
// Without a parent there is nobody to tell.
process.on('disconnect', () => process.exit());
