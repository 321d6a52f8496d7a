// What the page knows. The server keeps the truth; this is the latest it said, with decisions on their way laid over it.

import { batch, computed, signal } from "@preact/signals";
import { AGAIN_MS, call, query, Unreachable, type Clip, type ClipPage, type ClipState, type Edit, type EditPage, type Media, type Overview, type Problem, type Session, type Video } from "./api";
import { isLive, perSecond } from "./words";

// Where the page is

export type PageName = "queue" | "review" | "video" | "search" | "deliverables" | "submit" | "ops";

export interface Route {
  page: PageName;
  id: string | null;
  clip: string | null;
  search: URLSearchParams;
}

const PAGES: PageName[] = ["queue", "review", "video", "search", "deliverables", "submit", "ops"];

function readRoute(hash: string): Route {
  const [path = "", search = ""] = hash.replace(/^#\/?/, "").split("?");
  const [page = "", id = null, clip = null] = path.split("/");
  return { page: PAGES.includes(page as PageName) ? (page as PageName) : "queue", id: id || null, clip: clip || null, search: new URLSearchParams(search) };
}

export const route = signal(readRoute(location.hash));
addEventListener("hashchange", () => (route.value = readRoute(location.hash)));

export function go(hash: string, replace = false): void {
  if (replace) {
    history.replaceState(null, "", hash);
    route.value = readRoute(location.hash);
  } else location.hash = hash;
}

// Who is here, and how the page looks

export const session = signal<Session | null>(null);
export const needsToken = signal(false);
export const theme = signal<"auto" | "light" | "dark">((localStorage.getItem("theme") as "light" | "dark" | null) ?? "auto");

export function setTheme(name: "auto" | "light" | "dark"): void {
  theme.value = name;
  if (name === "auto") {
    localStorage.removeItem("theme");
    document.documentElement.removeAttribute("data-theme");
  } else {
    localStorage.setItem("theme", name);
    document.documentElement.dataset.theme = name;
  }
}

export const overlay = signal<"help" | "palette" | "history" | "text" | "profiles" | null>(null);

export interface Question {
  title: string;
  label: string;
  value: string;
  /** What the button says. */
  verb: string;
  done: (text: string) => void;
}

export const question = signal<Question | null>(null);

export function ask(asked: Question): void {
  question.value = asked;
  overlay.value = "text";
}

// Live

export const link = signal<"connecting" | "live" | "lost">("connecting");
/** Counts up with every live event; pages that show lists look again when it moves. */
export const news = signal(0);

// Messages

export interface Toast {
  id: number;
  text: string;
  tone: "info" | "good" | "bad";
  edit: Edit | null;
  until: number;
}

export const toasts = signal<Toast[]>([]);
let toastNumber = 0;

export function tell(text: string, kind: Toast["tone"] = "info", edit: Edit | null = null): void {
  const until = edit ? Math.min(new Date(edit.release_at).getTime(), Date.now() + 60_000) : Date.now() + (kind === "bad" ? 9000 : 4000);
  const others = toasts.value.filter((toast) => !toast.edit || !edit).slice(-2);
  toasts.value = [...others, { id: ++toastNumber, text, tone: kind, edit, until: Math.max(until, Date.now() + 1500) }];
}

export const dropToast = (id: number) => (toasts.value = toasts.value.filter((toast) => toast.id !== id));

// The video that is open

export interface Board {
  video: Omit<Video, "clips">;
  clips: Map<string, Clip>;
}

export const board = signal<Board | null>(null);
export const boardProblem = signal<Error | null>(null);
export const media = signal<Media | null>(null);
export const overview = signal<Overview | null>(null);
export const videoEdits = signal<Edit[]>([]);

/** States laid over clips by decisions that the server has not answered yet. */
export const pending = signal<Map<string, ClipState>>(new Map());

export type Order = "time" | "uncertain";
export type Filter = "all" | "pending" | "approved" | "skipped" | "failed";

export const order = signal<Order>((localStorage.getItem("order") as Order) ?? "time");
export const filter = signal<Filter>("all");
export const selected = signal<Set<string>>(new Set());
export const anchor = signal<string | null>(null);
export const marks = signal<{ in: number | null; out: number | null }>({ in: null, out: null });
/** Edits of this page, oldest first: what undo takes back, and what redo makes again. */
export const undoable = signal<Edit[]>([]);
export const redoable = signal<Edit[]>([]);

/** The clips in the order of their frames, as they will be once the server has heard everything. */
export const clips = computed<Clip[]>(() => {
  const over = pending.value;
  const all = [...(board.value?.clips.values() ?? [])].map((clip) => {
    const state = over.get(clip.id);
    return state ? { ...clip, state } : clip;
  });
  return all.filter((clip) => isLive(clip.state)).sort((a, b) => a.start_frame - b.start_frame);
});

function passes(clip: Clip, wanted: Filter): boolean {
  switch (wanted) {
    case "all":
      return true;
    case "pending":
      return clip.state === "pending_review";
    case "approved":
      return isLive(clip.state) && !["pending_review", "review_skipped"].includes(clip.state) && !clip.state.endsWith("_failed");
    case "skipped":
      return clip.state === "review_skipped";
    case "failed":
      return clip.state.endsWith("_failed");
  }
}

/** What narrows the list: words of tags and notes, and lengths in seconds such as <2 or >10. */
export const narrowing = signal("");

function isWithin(clip: Clip, narrowed: string): boolean {
  const wanted = narrowed.toLowerCase().split(/\s+/).filter(Boolean);
  return wanted.every((word) => {
    const [, side, seconds] = /^([<>])([\d.]+)s?$/.exec(word) ?? [];
    if (!side) return [...clip.tags, clip.note].some((text) => text.toLowerCase().includes(word));
    const over = (clip.end_frame - clip.start_frame) / perSecond(clip.rate) - Number(seconds);
    return side === "<" ? over < 0 : over > 0;
  });
}

/** The clip that others are to look like, and how far those compared so far do, from 0 to 1. */
export const alike = signal<{ clip: Clip; scores: Map<string, number> } | null>(null);
/** From here on, two clips look alike. */
const LEAST_ALIKE = 0.7;

/** The clips as the list shows them. */
export const listed = computed<Clip[]>(() => {
  const scores = alike.value?.scores;
  const score = (clip: Clip) => scores?.get(clip.id) ?? 0;
  const shown = clips.value.filter((clip) => (passes(clip, filter.value) && isWithin(clip, narrowing.value) && (!scores || score(clip) >= LEAST_ALIKE)) || clip.id === route.value.clip);
  if (scores) return shown.sort((a, b) => score(b) - score(a) || a.start_frame - b.start_frame);
  return order.value === "time" ? shown : shown.sort((a, b) => a.confidence - b.confidence || a.start_frame - b.start_frame);
});

export const current = computed<Clip | null>(() => clips.value.find((clip) => clip.id === route.value.clip) ?? null);

/** The next clip of a list that waits for a decision, from the open one on and around; `done` are just being decided over. */
export function nextUndecided(row: Clip[], done: Set<string>): Clip | undefined {
  const place = row.findIndex((clip) => clip.id === current.peek()?.id);
  const after = [...row.slice(place + 1), ...row.slice(0, Math.max(0, place))];
  return after.find((clip) => clip.state === "pending_review" && !done.has(clip.id));
}

export const undecided = computed(() => clips.value.filter((clip) => clip.state === "pending_review").length);

export function openClip(id: string): void {
  const video = board.value?.video.id;
  if (video) go(`#/review/${video}/${id}`, true);
}

let opening = 0;

/** Opens a video: its clips first, then what the timeline draws. */
export async function openVideo(id: string): Promise<void> {
  const number = ++opening;
  if (board.value?.video.id !== id) {
    batch(() => {
      board.value = null;
      media.value = null;
      overview.value = null;
      boardProblem.value = null;
      videoEdits.value = [];
      selected.value = new Set();
      narrowing.value = "";
      alike.value = null;
      marks.value = { in: null, out: null };
      undoable.value = [];
      redoable.value = [];
    });
  }
  try {
    const video = await call<Video>(`/api/videos/${id}`);
    if (number !== opening) return;
    takeVideo(video);
    boardProblem.value = null;
    if (!media.value && video.frames) await openMedia(video.duplicate_of ?? id, number);
  } catch (error) {
    if (number !== opening) return;
    boardProblem.value = error as Error;
    if (error instanceof Unreachable) setTimeout(() => number === opening && openVideo(id), AGAIN_MS);
  }
}

async function openMedia(owner: string, number: number): Promise<void> {
  const [got, over] = await Promise.all([
    call<Media>(`/api/videos/${owner}/media`).catch((error: Problem) => {
      if (error.code === "review.no_media") return null;
      throw error;
    }),
    call<Overview>(`/api/videos/${owner}/overview`).catch(() => null),
  ]);
  if (number !== opening) return;
  batch(() => {
    media.value = got;
    overview.value = over;
  });
}

export async function renewMedia(id: string): Promise<Media> {
  const got = await call<Media>(`/api/videos/${id}/media`);
  media.value = got;
  return got;
}

function takeVideo(video: Video): void {
  const { clips: found, ...summary } = video;
  const old = board.value?.video.id === video.id ? board.value.clips : new Map<string, Clip>();
  const fresh = new Map<string, Clip>();
  for (const clip of found) {
    const known = old.get(clip.id);
    fresh.set(clip.id, known && known.version > clip.version ? known : clip);
  }
  board.value = { video: summary, clips: fresh };
}

/** Takes clips as the server says they stand; an older word than one already heard is passed over. */
export function takeClips(found: Clip[]): void {
  const now = board.value;
  if (!now) return;
  const owner = now.video.duplicate_of ?? now.video.id;
  const changed = new Map(now.clips);
  for (const clip of found) {
    if (clip.video_id !== owner) continue;
    const known = changed.get(clip.id);
    if (known && known.version > clip.version) continue;
    changed.set(clip.id, clip);
  }
  board.value = { ...now, clips: changed };
}

const ASKED_AT_ONCE = 100;
const MOST_ASKED = 500;

/** Looks again at clips that live events named; a film has thousands, of which the others are left alone. */
export async function lookAgain(clipIds: string[]): Promise<void> {
  const now = board.value;
  if (!now) return;
  if (clipIds.length > MOST_ASKED) return openVideo(now.video.id);
  for (let first = 0; first < clipIds.length; first += ASKED_AT_ONCE) {
    const asked = { clip: clipIds.slice(first, first + ASKED_AT_ONCE), limit: ASKED_AT_ONCE };
    takeClips((await call<ClipPage>(`/api/clips${query(asked)}`)).clips);
  }
}

/** Looks again at how far the work on the video has come. */
export async function lookAtProgress(): Promise<void> {
  const id = board.value?.video.id;
  if (!id) return;
  const { clips: _, ...summary } = await call<Video>(`/api/videos/${id}?clips=false`);
  if (board.value?.video.id === id) board.value = { ...board.value, video: summary };
}

export async function loadHistory(): Promise<void> {
  const id = board.value?.video.id;
  if (!id) return;
  try {
    const page = await call<EditPage>(`/api/videos/${id}/edits${query({ limit: 100 })}`);
    if (board.value?.video.id === id) videoEdits.value = page.edits;
  } catch (error) {
    tell((error as Error).message, "bad");
  }
}
