/** Recordings: a list to replay from and to delete in, and the player that replays one. */
import { createHlsPlayer } from '../player/hls-player.ts';
import type { RunningWay } from '../player/playback-ladder.ts';
import { ask } from './dialogs.ts';
import { byId, copyButton, createKeyedList, errorText, type ListItem, make, setText } from './elements.ts';
import { bytes, dayAndTime, duration, recordingState } from './formatting.ts';
import type { RelayLink } from './relay-link.ts';
import type { RecordingList, RecordingView } from './relay-shapes.ts';

export interface RecordingsView {
  render(list: RecordingList | undefined): void;
  /** The list could not be had; undefined: it could. */
  failed(problem: string | undefined): void;
}

const FIRST_SHOWN = 6;

/** @param changed the list has to be asked for again. */
export function createRecordingsView(link: () => RelayLink | undefined, changed: () => void): RecordingsView {
  const more = byId<HTMLButtonElement>('recordings-more');
  let isWhole = false;
  let last: RecordingList | undefined;
  const player = createReplay();
  byId('keep-command').after(copyButton('Copy the command', () => byId('keep-command').textContent ?? ''));
  const showRows = createKeyedList<RecordingView>(byId('recordings'), {
    keyOf: ({ uid }) => uid,
    create: (recording) => createRow(recording, { play: player.play, remove }),
  });

  async function remove(recording: RecordingView): Promise<void> {
    const answer = await ask({
      title: 'Delete this recording?',
      text: `${titleOf(recording)}. It cannot be brought back.`,
      answers: [{ value: 'delete', label: 'Delete', isDangerous: true }],
    });
    if (answer === undefined) return;
    await link()?.deleteRecording(recording.uid);
    changed();
  }
  more.addEventListener('click', () => {
    isWhole = !isWhole;
    render(last);
  });

  function render(list: RecordingList | undefined): void {
    last = list;
    const recordings = [...(list?.recordings ?? [])].sort((one, other) => other.createdAt.localeCompare(one.createdAt));
    showRows(isWhole ? recordings : recordings.slice(0, FIRST_SHOWN));
    more.hidden = recordings.length <= FIRST_SHOWN;
    setText(more, isWhole ? 'Show fewer' : `Show all ${recordings.length}`);
    setText(byId('recordings-count'), recordings.length > 0 ? String(recordings.length) : '');
    byId('recordings-empty').hidden = !list || recordings.length > 0;
    byId('recordings-none-kept').hidden = list?.keepsRecordings !== false;
    byId('recordings-none-yet').hidden = list?.keepsRecordings === false;
    const { storage } = list ?? {};
    setText(
      byId('storage'),
      storage ? `${Math.round(storage.totalStorageMinutes)} of ${storage.totalStorageMinutesLimit} minutes used` : '',
    );
  }
  return {
    render,
    failed(problem) {
      setText(byId('recordings-problem'), problem ? `The list is not up to date: ${problem}` : '');
    },
  };
}

interface RowActions {
  play(recording: RecordingView): void;
  remove(recording: RecordingView): Promise<void>;
}

function createRow(first: RecordingView, { play, remove }: RowActions): ListItem<RecordingView> {
  const title = titleOf(first);
  const detail = make('span', { class: 'detail' });
  const problem = make('p', { class: 'problem', role: 'alert' });
  const thumbnail = make('span', { class: 'thumbnail', 'aria-hidden': 'true' });
  const playButton = make('button', { type: 'button', class: 'small', 'aria-label': `Play ${title}` }, 'Play');
  const deleteButton = make('button', { type: 'button', class: 'small', 'aria-label': `Delete ${title}` }, 'Delete');
  let last = first;
  let isPictured = false;
  playButton.addEventListener('click', () => play(last));
  deleteButton.addEventListener('click', () => {
    setText(problem, '');
    remove(last).catch((error: unknown) => setText(problem, errorText(error)));
  });
  return {
    node: make(
      'li',
      { class: 'recording', 'data-uid': first.uid },
      thumbnail,
      make('span', { class: 'words' }, make('span', { class: 'name', title }, whose(first)), detail),
      make('span', { class: 'actions' }, playButton, deleteButton),
      problem,
    ),
    update(recording) {
      last = recording;
      const isReady = recording.state === 'ready';
      playButton.hidden = !recording.urls || !isReady;
      // What is being written belongs to the stream that runs.
      deleteButton.hidden = recording.state === 'live-inprogress';
      setText(detail, detailOf(recording));
      const url = recording.urls?.thumbnailUrl;
      if (!url || !isReady || isPictured) return;
      isPictured = true;
      const image = make('img', { alt: '', src: url, loading: 'lazy' });
      image.addEventListener('error', () => image.remove());
      thumbnail.replaceChildren(image);
    },
  };
}

function whose({ userId, uid }: RecordingView): string {
  return userId ?? uid;
}

function when({ createdAt }: RecordingView): string {
  const at = Date.parse(createdAt);
  return Number.isFinite(at) ? dayAndTime(at, Date.now()) : createdAt;
}

function titleOf(recording: RecordingView): string {
  return `${whose(recording)}, ${when(recording)}`;
}

function detailOf(recording: RecordingView): string {
  const { durationSeconds, heightPx, sizeBytes, state, widthPx } = recording;
  return [
    when(recording),
    state === 'ready' ? undefined : recordingState(state),
    durationSeconds !== undefined && durationSeconds > 0 ? duration(durationSeconds) : undefined,
    widthPx && heightPx && heightPx > 0 ? `${widthPx} × ${heightPx}` : undefined,
    sizeBytes ? bytes(sizeBytes) : undefined,
  ]
    .filter(Boolean)
    .join(' · ');
}

function createReplay(): { play(recording: RecordingView): void } {
  const dialog = byId<HTMLDialogElement>('replay');
  const problem = byId('replay-problem');
  const video = make('video', { id: 'replay-video', controls: true, playsinline: true, 'aria-label': 'Recording' });
  let running: RunningWay | undefined;

  problem.before(video);
  dialog.addEventListener('close', () => {
    running?.close();
    running = undefined;
  });
  return {
    play(recording) {
      const url = recording.urls?.hlsUrl;
      if (!url) return;
      setText(byId('replay-title'), titleOf(recording));
      setText(problem, '');
      running?.close();
      dialog.showModal();
      const events = {
        playing() {},
        failed: (reason: string) => setText(problem, `The recording cannot be played: ${reason}.`),
      };
      running = createHlsPlayer(video, url, events, { isRecording: true });
    },
  };
}
