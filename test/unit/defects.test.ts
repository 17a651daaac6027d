/**
 * The defects of MentraOS's cloud, glasses and SDK that are known to us (numbers of the protocol study, §4), and proof that
 * each which could happen here has a test that shows it does not: a test says `defect N` in its title.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

/** What goes wrong there. */
const defects: Record<number, string> = {
  // managed streams
  1: 'two apps that ask at once get two live inputs, and nobody sees a picture',
  2: 'an app that joins is told `active` before anything is live',
  3: '`initializing` carries addresses that do not play yet',
  4: 'apps are told `active` on the word of the glasses, before there is a playlist',
  5: 'any word of the glasses that is not known reads as healthy',
  6: 'the reason of an error is dropped',
  7: 'statuses without a stream id are dropped, and with them "no Wi-Fi" and "camera busy"',
  8: 'later statuses leave addresses out, and the SDK forgets them',
  9: 'waiting for a picture ends after 60 s and nobody is told',
  10: 'two sources say `active` in no defined order',
  11: 'live inputs are never deleted, their keys stay valid for ever',
  12: 'glasses that fall silent end the stream and no app is told',
  13: 'while the glasses have no socket, nothing is counted as missed',
  14: 'a late answer about an old stream is credited to the new one',
  15: 'a stop without a stream is not answered, and the SDK refuses every later start',
  16: 'a timer for each user session is never cleared',
  17: 'a stream that is healthy and quiet ends after an hour',
  18: 'the end of a user session leaves the glasses publishing and tells apps nothing',
  19: 'what was last told to whom is kept without bound',
  20: 'keep-alives begin before the start is sent and before the live input is made',
  // state
  21: 'managed and unmanaged streams do not know of each other: two owners for one encoder',
  22: 'a restart of the cloud loses every stream',
  // provider
  23: 'viewers are given the address to publish to',
  24: 'playback addresses are made up, and do not play',
  25: 'what an app asks for is ignored, and inputs carry no mark to find them by',
  26: 'destinations that could not be made are passed over in silence, names are lost',
  27: 'destinations of a start are not checked or limited',
  28: 'the status of a destination is never asked again',
  29: 'tokens, headers and stream keys are written to the log',
  // unmanaged streams
  30: 'an unmanaged start leaves the older stream running, and relies on the firmware',
  31: 'errors become `stopped`, details and statistics are dropped',
  32: 'a stop of any app stops any stream',
  33: 'the owner hears each status twice',
  34: 'a timeout is looked at only when the next keep-alive is due and can be sent',
  35: 'keep-alives wait for a status that may be lost',
  // apps
  36: 'the webhook is sent again while the app is still at work on the first one',
  37: 'an app that connects late has been declared dead, and is refused',
  38: 'an app that stops or is lost stays a viewer, its streams run on',
  39: 'ids are taken apart at hyphens, which e-mail addresses may have',
  40: 'names inside messages are trusted, frames are not validated',
  41: 'an error of a feature closes the socket, which the SDK takes as final',
  42: 'an app that unsubscribes from everything soon after it came is not heard',
  43: 'one error has several HTTP statuses, and the headers that are documented are not read',
  44: 'a start of an app that failed is answered as a success',
  45: 'API keys are written to the log',
  // glasses’ socket
  46: 'glasses are acknowledged only when their apps have started',
  47: 'the end of a socket that was replaced ends the session',
  48: 'tokens of glasses never end',
  49: 'the list of running apps is not sent, and one event has two names',
  // firmware and SDK, where the cloud is the remedy
  55: 'a late stop of one stream ends the next one',
  58: 'the timer of an earlier start makes the SDK forget the one that is pending',
  59: 'a start that the SDK gives up is not stopped, and runs on unseen',
  60: 'checks carry no id, and their answers are told apart by order',
  61: 'settings are fetched with the id of the session in the place of a user',
  62: 'the look for permissions always goes to https',
  63: 'the SDK keeps its idea of a stream over a reconnect',
  64: '`onSession` that throws answers the webhook with 500 and leaves the socket open',
};

/** Inside the glasses' firmware, which we do not ship; what the cloud sees of each is another entry. */
const firmware: Record<number, string> = {
  50: 'terminal statuses without id: the cloud side is 7',
  51: 'retries without end: the cloud side is 5',
  52: 'a zombie that still acknowledges: the cloud goes by the media, see 4',
  53: 'retries of a first start are cancelled: the cloud side is 9',
  54: 'settings are ignored and statistics are constants; ours obeys and measures',
  56: 'the answer to get_rtmp_status has no type, so it is never asked for',
  57: 'a fatal error is retried: the cloud side is 5',
};

const root = resolve(import.meta.dirname, '..');
const titles = readdirSync(root, { withFileTypes: true, recursive: true })
  .filter((entry) => entry.isFile() && entry.name.endsWith('.test.ts') && entry.name !== 'defects.test.ts')
  .flatMap((entry) => readFileSync(join(entry.parentPath, entry.name), 'utf8').split('\n'))
  // Of tests and groups, on one line with their name or after a table.
  .filter((text) => /^\s*(?:(?:it|describe)\b.*|\][^'"`]*)\((['"`]).*\bdefects? \d/.test(text));
const shown = new Set(titles.flatMap((title) => [...title.matchAll(/\bdefects? ([\d, ]*\d)/g)].flatMap(numbers)));

function numbers([, list = '']: RegExpMatchArray): number[] {
  return list.split(/[, ]+/).map(Number);
}

describe('the known defects', () => {
  it('are all here, each once: shown not to happen, or none of the cloud’s', () => {
    const known = [...Object.keys(defects), ...Object.keys(firmware)].map(Number);
    expect(known.sort((a, b) => a - b)).toEqual(Array.from({ length: 64 }, (_, index) => index + 1));
  });
  it.each(Object.entries(defects))('%s has a test: %s', (number) => {
    expect(shown).toContain(Number(number));
  });
  it('are named by numbers that exist', () => {
    expect([...shown].filter((number) => !(number in defects) && !(number in firmware))).toEqual([]);
  });
});
