/** Which version of the agent this is: bundled releases carry theirs, the sources have none. */

/** Put in by the bundler. */
declare const GLASSCAST_AGENT_VERSION: string | undefined;

/** MAJOR.MINOR.PATCH; of the sources 0.0.0, which is older than every release. */
export const agentVersion = typeof GLASSCAST_AGENT_VERSION === 'string' ? GLASSCAST_AGENT_VERSION : '0.0.0';
