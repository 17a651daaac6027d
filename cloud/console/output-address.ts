/** The address of a restream output, from the two fields that platforms show: server and stream key. Pure. */

/** The key follows the server after one slash; without a key the server is the whole address. */
export function outputAddress(server: string, key: string): string {
  const [base, last] = [server.trim(), key.trim()];
  return last === '' ? base : `${base.replace(/\/+$/, '')}/${last.replace(/^\/+/, '')}`;
}

/** What is wrong with it, before the relay is asked; undefined when it may be one. */
export function addressProblem(address: string): string | undefined {
  if (address === '') return 'Type where to send it, for example rtmps://a.rtmps.youtube.com/live2';
  return /^rtmps?:\/\/[^/\s]+\/\S+/i.test(address)
    ? undefined
    : 'The address has to start with rtmp:// or rtmps:// and name a host and a stream key';
}
