// Joins the player to the page: its state as signals, the open video's media, and the clip it is bound to.

import { computed, effect, signal } from "@preact/signals";
import { stillUrl, type Media } from "./api";
import { Player, type Playable, type State } from "./player/player";
import { board, clips, current, listed, media, nextUndecided, openClip, renewMedia, route } from "./store";

declare global {
  interface Window {
    __player?: Player;
  }
}

/** What the page shows of the player but the frame, which has a signal of its own: this changes seldom. */
export const playerState = signal<Omit<State, "frame" | "target"> | null>(null);
/** How pictures come, once there is something to play. */
export const mode = computed(() => playerState.value?.mode ?? null);
export const frame = signal(-1);
/** Whether a picture is on the screen; unlike its number this changes seldom. */
export const hasPicture = computed(() => frame.value >= 0);
export const playing = signal(false);
/** Counts up when bytes have come, so that the bar of loaded ranges is drawn again. */
export const loaded = signal(0);

export let player: Player | null = null;

const LOADED_MS = 120;
const AHEAD_CLIPS = 3;
const AHEAD_FRAMES = 10;

function playable(owner: string, found: Media): Playable {
  return {
    id: owner,
    codec: found.codec,
    proxy: found.proxy,
    index: found.index,
    audio: found.audio,
    still: (number) => stillUrl(owner, number),
  };
}

/** Shows a frame, wherever it lies. */
export function lookAt(to: number): void {
  if (player?.state.playing) player.pause();
  void player?.seek(to);
}

/** Shows a frame, and opens the clip in which it lies. */
export function goTo(to: number): void {
  lookAt(to);
  const under = clips.peek().find((other) => other.start_frame <= to && to < other.end_frame);
  if (!under || under.id === current.peek()?.id) return;
  openClip(under.id);
  queueMicrotask(() => lookAt(to));
}

/** Puts a player on a canvas while the review page shows. The answer takes it off again. */
export function mount(canvas: HTMLCanvasElement, video: HTMLVideoElement): () => void {
  let queued = false;
  let bytes = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let shown: string | null = null;
  const show = () => {
    queued = false;
    const { frame: _frame, target: _target, ...state } = made.state;
    playing.value = state.playing;
    const before = playerState.peek();
    if (!before || (Object.keys(state) as (keyof typeof state)[]).some((name) => state[name] !== before[name])) playerState.value = state;
    if (bytes === (made.source?.bytes ?? 0) || timer) return;
    timer = setTimeout(() => {
      timer = undefined;
      bytes = made.source?.bytes ?? 0;
      loaded.value += 1;
    }, LOADED_MS);
  };
  const made = new Player(
    canvas,
    video,
    () => {
      // Only written: an effect that moves the player must not come to depend on where it is.
      frame.value = made.state.frame;
      if (queued) return;
      queued = true;
      queueMicrotask(show);
    },
    new URLSearchParams(location.search).has("stills"),
  );
  player = made;
  window.__player = made;
  made.state.muted = localStorage.getItem("muted") === "1";

  let opened: string | null = null;
  const stopMedia = effect(() => {
    const found = media.value;
    const video = board.value?.video;
    if (!found || !video) {
      if (!found && opened) {
        opened = null;
        shown = null;
        made.close();
      }
      return;
    }
    const owner = video.duplicate_of ?? video.id;
    if (opened === owner) return;
    opened = owner;
    void made.open(playable(owner, found), async () => playable(owner, await renewMedia(owner))).then(() => follow());
  });

  const follow = () => {
    const clip = current.peek();
    if (!clip || !made.index) return;
    const key = `${clip.id}:${clip.start_frame}:${clip.end_frame}`;
    if (shown === key) return;
    // A split, merge or trim under the playhead leaves the picture where it is.
    const edited = shown !== null && made.state.frame >= clip.start_frame && made.state.frame < clip.end_frame && clip.parents.length > 0;
    shown = key;
    const wasPlaying = made.state.playing;
    if (wasPlaying && !edited) made.pause();
    made.bound(clip.start_frame, clip.end_frame);
    if (!edited) void made.seek(clip.start_frame);
    const row = listed.peek();
    const place = row.findIndex((other) => other.id === clip.id);
    const following = row.slice(place + 1, place + 1 + AHEAD_CLIPS);
    for (const next of following) made.prefetch(next.start_frame, Math.min(next.end_frame, next.start_frame + AHEAD_FRAMES));
    // Where a verdict leads, and where the arrow does.
    const likely = [nextUndecided(row, new Set([clip.id])), following[0]].filter((next) => next !== undefined);
    made.expect([...new Set(likely.map((next) => next.start_frame))]);
  };
  const stopClip = effect(() => {
    void current.value;
    void clips.value;
    void route.value;
    follow();
  });

  return () => {
    stopMedia();
    stopClip();
    made.close();
    clearTimeout(timer);
    player = null;
    delete window.__player;
    playerState.value = null;
    frame.value = -1;
  };
}
