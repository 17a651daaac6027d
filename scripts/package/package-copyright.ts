/** The copyright file of the package for boards, in Debian's machine-readable form (DEP 5): ours, Node's and ffmpeg's. */
import type { RuntimePin } from './runtimes.ts';

export function copyrightFile({ node, ffmpeg }: { node: RuntimePin; ffmpeg: RuntimePin }): string {
  return `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: glasscast

Files: *
Copyright: 2026 the authors of Glasscast
License: Apache-2.0

Files: usr/lib/glasscast/node
Copyright: Node.js contributors, and the authors that its licence names
License: Node.js
Comment: From the npm package ${node.name} ${node.version}.

Files: usr/lib/glasscast/ffmpeg
Copyright: 2000-2021 the FFmpeg developers
License: GPL-3
Comment: From the npm package ${ffmpeg.name} ${ffmpeg.version}, a static build
 with libx264 and other libraries under the GPL. Its sources are named at
 https://johnvansickle.com/ffmpeg/ and https://www.npmjs.com/package/${ffmpeg.name}.

License: Apache-2.0
 On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.

License: GPL-3
 On Debian systems the text is in /usr/share/common-licenses/GPL-3.

License: Node.js
 The text is in /usr/share/doc/glasscast-agent/node-terms.gz, as it came with the
 program.
`;
}
