/**
 * What a recording says of its stream: of all that is noted on an input, its name alone comes back on its recordings,
 * followed by the time. Pure.
 */

export const recordingNames = {
  write: (streamId: string, userId: string | undefined): string =>
    `glasscast ${streamId}${userId === undefined ? '' : ` <${userId}>`}`,
  read(name: string): { streamId?: string | undefined; userId?: string | undefined } {
    const [, streamId, userId] = /^glasscast ([a-z0-9]+)(?: <([^<>]+)>)?(?: |$)/.exec(name) ?? [];
    return { streamId, userId };
  },
};
