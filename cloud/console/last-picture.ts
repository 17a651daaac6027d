/** The newest picture that was shown, kept on a canvas: what stands there while a player starts anew or waits. */

export interface LastPicture {
  /** Takes what the video shows now. */
  take(): void;
  isThere(): boolean;
  /** It belongs to a stream that is not shown any more. */
  forget(): void;
}

/** Wide enough to be recognized behind a banner. */
const MAX_WIDTH_PX = 1280;

export function createLastPicture(video: HTMLVideoElement, canvas: HTMLCanvasElement): LastPicture {
  const context = canvas.getContext('2d');
  let isThere = false;
  return {
    take() {
      const { readyState, videoHeight, videoWidth } = video;
      if (!context || readyState < HTMLMediaElement.HAVE_CURRENT_DATA || videoWidth === 0) return;
      const width = Math.min(MAX_WIDTH_PX, videoWidth);
      const height = Math.round((videoHeight * width) / videoWidth);
      if (canvas.width !== width) canvas.width = width;
      if (canvas.height !== height) canvas.height = height;
      context.drawImage(video, 0, 0, width, height);
      isThere = true;
    },
    isThere: () => isThere,
    forget() {
      isThere = false;
    },
  };
}
