/**
 * node-media-server as anyone sets it up, in a process of its own: RTMP in and out, FLV over HTTP and WebSockets. The peer of
 * bench:ingest, since the local Stream's ingest stands on the same package. Arguments: port of RTMP, port of HTTP, store folder.
 */
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const logger = require('node-media-server/src/core/logger.js');
const NodeMediaServer = require('node-media-server/src/index.js');

const [rtmpPort, httpPort, store] = process.argv.slice(2);
const config = { bind: '127.0.0.1', rtmp: { port: Number(rtmpPort) }, http: { port: Number(httpPort) } };
const server = new NodeMediaServer({ ...config, webadmin: { enable: false }, store: { path: store } });
logger.level = 'error';
server.rtmpServer.tcpServer.on('listening', () => process.send?.({ type: 'ready' }));
server.run();
process.on('SIGINT', () => process.exit());
// Without a parent there is nobody to publish.
process.on('disconnect', () => process.exit());
