/**
 * `npm run bench:hardware`: from an empty disk to a live picture: image built, flashed, booted, streaming, verified by decoding
 * frames at the local Stream, powered off. How long each phase took, and which size and rate the emulated processor holds.
 */

import { runBench } from './bench/program.ts';
import { measureBoard } from './hardware/measured-board.ts';
import { piecesFolder } from './hardware/pieces.ts';

await runBench({
  name: 'bench:hardware',
  about:
    'A board from an empty disk: Debian built, the agent flashed, booted in QEMU with the camera and sound card that the kernel\npretends, streaming, its frames decoded at the local Stream, powered off. As root, on x86-64 Debian.',
  defaultRuns: 1,
  defaultSeconds: 10,
  // A disk takes 1.2 GB.
  foldersIn: '/var/tmp',
  options: [
    { name: 'faults', default: '', help: 'then every fault on the running board', isFlag: true },
    { name: 'only', default: '', help: 'of faults and scenario, what has this in its name' },
    { name: 'scenario', default: '', help: 'update: flashed over ssh, a broken update, a power cut in an update' },
    { name: 'fresh', default: '', help: 'begin with nothing that was kept from before', isFlag: true },
    { name: 'cache', default: piecesFolder(process.env), help: 'where the pieces are kept' },
    { name: 'sizes', default: '320x180@5', help: 'what is streamed, as 320x180@5,640x360@10' },
  ],
  measure: measureBoard,
});
