// The one table of everything a person can do. Keys, buttons, tooltips, the palette, the help page and the tests read it.

import { batch } from "@preact/signals";
import type { Clip } from "./api";
import { decideRest, edit, redo, undo } from "./decisions";
import { frame, goTo, player } from "./screen";
import { onlyLike } from "./similar";
import {
  alike,
  anchor,
  ask,
  board,
  clips,
  current,
  filter,
  go,
  listed,
  loadHistory,
  marks,
  nextUndecided,
  openClip,
  order,
  overlay,
  route,
  selected,
  session,
  setTheme,
  tell,
  theme,
  type Filter,
  type PageName,
} from "./store";
import { frameMeant, many } from "./words";

/** Where an action can be done: on the open clip, on the review page, on pages with a list, everywhere. */
type Where = "clip" | "review" | "list" | "everywhere";

interface Row {
  id: string;
  title: string;
  group: "Play" | "Move" | "Decide" | "Change" | "Choose" | "Pages" | "Page";
  /** Keys by their place on the keyboard, with modifiers in front: "Shift+KeyA", "Ctrl+KeyK". A person may choose others. */
  keys: string[];
  where: Where;
  run: () => unknown;
  /** Whether holding the key does it again and again. */
  repeats?: boolean;
}

export interface Action extends Row {
  when: () => boolean;
}

const reviewing = () => route.value.page === "review" && board.value !== null;

const WHEN: Record<Where, () => boolean> = {
  clip: () => reviewing() && current.value !== null,
  review: reviewing,
  list: () => !reviewing() && rows().length > 0,
  everywhere: () => true,
};

/** Whether there is a place in which both can be done; where there is none, one key may stand for both. */
export function meet(one: Action, other: Action): boolean {
  const places = [one.where, other.where];
  return !(places.includes("list") && (places.includes("clip") || places.includes("review")));
}

/** The clips that a decision is about: those chosen, else the one that is open. */
export function targets(): Clip[] {
  const chosen = clips.value.filter((clip) => selected.value.has(clip.id));
  return chosen.length ? chosen : current.value ? [current.value] : [];
}

const pendingOf = (list: Clip[]) => list.filter((clip) => clip.state === "pending_review");

function moveBy(step: number, keepSelection = false): void {
  const row = listed.value;
  if (!row.length) return;
  const place = row.findIndex((clip) => clip.id === current.value?.id);
  const next = row[Math.max(0, Math.min(row.length - 1, place + step))];
  if (!next) return;
  batch(() => {
    if (keepSelection) {
      const from = row.findIndex((clip) => clip.id === (anchor.value ?? current.value?.id));
      anchor.value ??= current.value?.id ?? null;
      const to = row.indexOf(next);
      selected.value = new Set(row.slice(Math.min(from, to), Math.max(from, to) + 1).map((clip) => clip.id));
    } else anchor.value = null;
    marks.value = { in: null, out: null };
    openClip(next.id);
  });
}

/** Goes to the next clip that waits for a decision. */
function advance(row: Clip[], done: Set<string>): void {
  const next = nextUndecided(row, done);
  batch(() => {
    selected.value = new Set();
    anchor.value = null;
    marks.value = { in: null, out: null };
    if (next) openClip(next.id);
    else tell("No undecided clip is left in this list.", "good");
  });
}

let last: (() => unknown) | null = null;

export function verdict(command: "approve" | "skip" | "archive", more: { profiles?: string[] } = {}): void {
  const chosen = targets();
  const fit = command === "archive" ? chosen : pendingOf(chosen);
  if (!fit.length) {
    tell(chosen.length > 1 ? "None of the chosen clips is undecided; undo their decisions first (history: H)." : "This clip is decided already; undo that first (Z, or in the history: H).");
    return;
  }
  const row = listed.value;
  batch(() => {
    void edit(command, fit, more);
    if (command === "archive") last = null;
    else last = () => verdict(command, more);
    advance(row, new Set(fit.map((clip) => clip.id)));
  });
}

function rest(command: "approve" | "skip"): void {
  const open = pendingOf(clips.value);
  if (!open.length) {
    tell("Every clip is decided already.");
    return;
  }
  void decideRest(command, open);
}

async function split(): Promise<void> {
  const clip = current.value;
  const at = frame.value;
  if (!clip) return;
  if (at <= clip.start_frame || at >= clip.end_frame) {
    tell("Go to a frame inside the clip: it becomes the first frame of the second part.");
    return;
  }
  const made = await edit("split", [clip], { at });
  const second = made?.clips.find((other) => other.start_frame === at && other.state === "pending_review");
  // A live event may have told of the parts before the answer did.
  const isHere = [clip.id, ...(made?.clips.map((part) => part.id) ?? [])].includes(route.value.clip ?? "");
  if (second && isHere) openClip(second.id);
}

async function merge(chosen: Clip[]): Promise<void> {
  const made = await edit("merge", chosen);
  const whole = made?.clips.find((clip) => clip.state === "pending_review" && clip.parents.length === chosen.length);
  if (whole) {
    selected.value = new Set();
    openClip(whole.id);
  }
}

function mergeNext(): void {
  const clip = current.value;
  const next = clips.value.find((other) => other.start_frame === clip?.end_frame);
  if (!clip || !next) {
    tell("There is no next clip to merge with.");
    return;
  }
  void merge([clip, next]);
}

async function trim(): Promise<void> {
  const clip = current.value;
  if (!clip) return;
  const start = marks.value.in ?? clip.start_frame;
  const end = (marks.value.out ?? clip.end_frame - 1) + 1;
  if (marks.value.in === null && marks.value.out === null) {
    tell("Set the first frame to keep with I, or the last with O, then trim.");
    return;
  }
  if (end <= start || start < clip.start_frame || end > clip.end_frame) {
    tell("The marks lie outside the clip or the wrong way round; set them again.", "bad");
    return;
  }
  marks.value = { in: null, out: null };
  const made = await edit("trim", [clip], { start, end });
  const kept = made?.clips.find((other) => other.start_frame === start && other.end_frame === end && other.id !== clip.id);
  if (kept) openClip(kept.id);
}

function askTags(): void {
  const chosen = targets();
  const known = chosen[0]?.tags ?? [];
  ask({
    title: chosen.length === 1 ? "Tags of this clip" : `Tags of ${many(chosen.length, "clip")}`,
    label: "Tags, separated by commas",
    value: chosen.length === 1 ? known.join(", ") : "",
    verb: "Save",
    done: (text) => {
      const wanted = [...new Set(text.split(",").map((tag) => tag.trim()).filter(Boolean))];
      const add = wanted.filter((tag) => !chosen.every((clip) => clip.tags.includes(tag)));
      const remove = chosen.length === 1 ? known.filter((tag) => !wanted.includes(tag)) : [];
      if (add.length || remove.length) void edit("tag", chosen, { add, remove });
    },
  });
}

function askNote(): void {
  const clip = current.value!;
  ask({ title: "Note on this clip", label: "Note", value: clip.note ?? "", verb: "Save", done: (text) => void edit("note", [clip], { note: text.trim() }) });
}

function askFrame(): void {
  const total = board.value!.video.frames ?? 0;
  ask({
    title: "Go to",
    label: "A frame (120), frames on or back (+12), a time (1:02.5), a timecode (00:01:02:12)",
    value: "",
    verb: "Go",
    done: (text) => {
      const index = player?.index;
      if (!index) return;
      const to = frameMeant(text, frame.value, index.framesPerSecond, (seconds) => index.frameAt(seconds));
      if (to === null) tell(`“${text}” is no place in a video; write 120, +12, 1:02.5 or 00:01:02:12.`, "bad");
      else if (to < 0 || to >= total) tell(`There is no frame ${to.toLocaleString("en")}; the video has 0 to ${(total - 1).toLocaleString("en")}.`, "bad");
      else goTo(to);
    },
  });
}

function checkCut(): void {
  const clip = current.value;
  if (!clip || !player?.index) return;
  const around = Math.max(2, Math.round(player.index.framesPerSecond));
  player.bound(Math.max(0, clip.start_frame - around), Math.min(player.index.frames, clip.start_frame + around));
  void player.seek(Math.max(0, clip.start_frame - around)).then(() => player?.play(1));
}

function ownBounds(): void {
  const clip = current.value;
  if (clip && player && (player.in !== clip.start_frame || player.out !== clip.end_frame)) player.bound(clip.start_frame, clip.end_frame);
}

const seconds = (n: number) => Math.max(1, Math.round((player?.index?.framesPerSecond ?? 25) * n));
const stepBy = (frames: () => number) => () => player?.step(frames());

export function rows(): HTMLElement[] {
  return [...document.querySelectorAll<HTMLElement>("main [data-row]")];
}

function focusRow(step: number): void {
  const all = rows();
  const place = all.findIndex((row) => row === document.activeElement || row.contains(document.activeElement));
  const next = all[Math.max(0, Math.min(all.length - 1, place + step))];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}

const FILTERS: Filter[] = ["all", "pending", "approved", "skipped", "failed"];

function toPage(page: PageName): () => void {
  return () => {
    if (page === "review") {
      const open = board.value;
      go(open ? `#/review/${open.video.id}` : "#/queue");
    } else if (page === "video") go(board.value ? `#/video/${board.value.video.id}` : "#/queue");
    else go(`#/${page}`);
  };
}

const TABLE: Row[] = [
  { id: "play", title: "Play or pause", group: "Play", keys: ["Space", "KeyK"], where: "clip", run: () => (ownBounds(), player?.toggle()) },
  { id: "forward", title: "Play forward; again for 2×, 4×, 8×", group: "Play", keys: ["KeyL"], where: "clip", run: () => (ownBounds(), player?.shuttle(1)) },
  { id: "backward", title: "Play backward; again for 2×, 4×, 8×", group: "Play", keys: ["KeyJ"], where: "clip", run: () => (ownBounds(), player?.shuttle(-1)) },
  { id: "loop", title: "Loop the clip on or off", group: "Play", keys: ["KeyQ"], where: "clip", run: () => player?.setLoop(!player.state.loop) },
  { id: "check-cut", title: "Play across the clip's first cut", group: "Play", keys: ["KeyW"], where: "clip", run: checkCut },
  {
    id: "mute",
    title: "Sound on or off",
    group: "Play",
    keys: ["KeyV"],
    where: "clip",
    run: () => {
      player?.setMuted(!player.state.muted);
      localStorage.setItem("muted", player?.state.muted ? "1" : "0");
    },
  },
  {
    id: "fullscreen",
    title: "Full screen on or off",
    group: "Play",
    keys: ["KeyF"],
    where: "clip",
    run: () => (document.fullscreenElement ? document.exitFullscreen() : document.querySelector(".stage")?.requestFullscreen().catch(() => {})),
  },

  { id: "next-frame", title: "Next frame", group: "Move", keys: ["ArrowRight", "Period"], where: "clip", repeats: true, run: stepBy(() => 1) },
  { id: "previous-frame", title: "Previous frame", group: "Move", keys: ["ArrowLeft", "Comma"], where: "clip", repeats: true, run: stepBy(() => -1) },
  { id: "next-ten", title: "Ten frames on", group: "Move", keys: ["Shift+ArrowRight"], where: "clip", repeats: true, run: stepBy(() => 10) },
  { id: "previous-ten", title: "Ten frames back", group: "Move", keys: ["Shift+ArrowLeft"], where: "clip", repeats: true, run: stepBy(() => -10) },
  { id: "next-second", title: "A second on", group: "Move", keys: ["Alt+ArrowRight"], where: "clip", repeats: true, run: stepBy(() => seconds(1)) },
  { id: "previous-second", title: "A second back", group: "Move", keys: ["Alt+ArrowLeft"], where: "clip", repeats: true, run: stepBy(() => -seconds(1)) },
  { id: "first-frame", title: "First frame of the clip", group: "Move", keys: ["Home"], where: "clip", run: () => (player?.pause(), player?.seek(current.value!.start_frame)) },
  { id: "last-frame", title: "Last frame of the clip", group: "Move", keys: ["End"], where: "clip", run: () => (player?.pause(), player?.seek(current.value!.end_frame - 1)) },
  { id: "go-to", title: "Go to a frame, a time or a timecode…", group: "Move", keys: ["Ctrl+KeyG"], where: "clip", run: askFrame },
  { id: "next-clip", title: "Next clip", group: "Move", keys: ["ArrowDown", "KeyN"], where: "review", repeats: true, run: () => moveBy(1) },
  { id: "previous-clip", title: "Previous clip", group: "Move", keys: ["ArrowUp", "KeyP"], where: "review", repeats: true, run: () => moveBy(-1) },
  { id: "next-undecided", title: "Next undecided clip", group: "Move", keys: ["KeyU"], where: "review", run: () => advance(listed.value, new Set()) },

  { id: "approve", title: "Approve", group: "Decide", keys: ["KeyA"], where: "clip", run: () => verdict("approve") },
  { id: "approve-as", title: "Approve, to be delivered as…", group: "Decide", keys: ["Alt+KeyA"], where: "clip", run: () => (overlay.value = "profiles") },
  { id: "skip", title: "Skip", group: "Decide", keys: ["KeyS"], where: "clip", run: () => verdict("skip") },
  { id: "archive", title: "Archive: delete the clip and all that was made from it", group: "Decide", keys: ["KeyX"], where: "clip", run: () => verdict("archive") },
  { id: "approve-rest", title: "Approve the rest", group: "Decide", keys: ["Shift+KeyA"], where: "review", run: () => rest("approve") },
  { id: "skip-rest", title: "Skip the rest", group: "Decide", keys: ["Shift+KeyS"], where: "review", run: () => rest("skip") },
  { id: "undo", title: "Undo", group: "Decide", keys: ["KeyZ", "Ctrl+KeyZ"], where: "review", run: () => undo() },
  { id: "redo", title: "Redo", group: "Decide", keys: ["Shift+KeyZ", "Ctrl+Shift+KeyZ", "Ctrl+KeyY"], where: "review", run: redo },
  { id: "repeat", title: "Repeat the last decision", group: "Decide", keys: ["KeyR"], where: "clip", run: () => (last ? last() : tell("There is no decision to repeat yet.")) },

  { id: "split", title: "Split here: this frame begins the second part", group: "Change", keys: ["KeyB"], where: "clip", run: split },
  { id: "merge-next", title: "Merge with the next clip", group: "Change", keys: ["KeyM"], where: "clip", run: mergeNext },
  { id: "merge-chosen", title: "Merge the chosen clips", group: "Change", keys: ["Shift+KeyM"], where: "clip", run: () => (targets().length > 1 ? void merge(targets()) : tell("Choose two or more neighbours first.")) },
  { id: "mark-in", title: "Keep from this frame", group: "Change", keys: ["KeyI"], where: "clip", run: () => (marks.value = { ...marks.value, in: frame.value }) },
  { id: "mark-out", title: "Keep up to this frame", group: "Change", keys: ["KeyO"], where: "clip", run: () => (marks.value = { ...marks.value, out: frame.value }) },
  { id: "trim", title: "Trim to the marks", group: "Change", keys: ["KeyT", "Enter"], where: "clip", run: trim },
  { id: "group", title: "Approve and group the chosen clips", group: "Change", keys: ["KeyG"], where: "clip", run: () => (targets().length > 1 ? void edit("group", targets()) : tell("Choose two or more clips first.")) },
  { id: "ungroup", title: "Take out of the group", group: "Change", keys: ["Shift+KeyG"], where: "clip", run: () => void edit("ungroup", targets()) },
  { id: "tag", title: "Tags…", group: "Change", keys: ["KeyY"], where: "clip", run: askTags },
  { id: "note", title: "Note…", group: "Change", keys: ["KeyE"], where: "clip", run: askNote },

  {
    id: "choose",
    title: "Choose this clip, or not",
    group: "Choose",
    keys: ["KeyC"],
    where: "clip",
    run: () => {
      const set = new Set(selected.value);
      const id = current.value!.id;
      if (!set.delete(id)) set.add(id);
      selected.value = set;
    },
  },
  { id: "choose-down", title: "Choose on to the next clip", group: "Choose", keys: ["Shift+ArrowDown"], where: "clip", repeats: true, run: () => moveBy(1, true) },
  { id: "choose-up", title: "Choose on to the previous clip", group: "Choose", keys: ["Shift+ArrowUp"], where: "clip", repeats: true, run: () => moveBy(-1, true) },
  { id: "choose-all", title: "Choose every clip of the list", group: "Choose", keys: ["Ctrl+KeyA"], where: "review", run: () => (selected.value = new Set(listed.value.map((clip) => clip.id))) },
  {
    id: "choose-none",
    title: "Choose none, forget the marks",
    group: "Choose",
    keys: ["Escape"],
    where: "review",
    run: () => {
      selected.value = new Set();
      anchor.value = null;
      marks.value = { in: null, out: null };
    },
  },
  {
    id: "order",
    title: "Least certain first, or in the order of time",
    group: "Choose",
    keys: ["KeyD"],
    where: "review",
    run: () => {
      order.value = order.value === "time" ? "uncertain" : "time";
      localStorage.setItem("order", order.value);
    },
  },
  { id: "filter", title: "Next filter of the list", group: "Choose", keys: ["Shift+KeyF"], where: "review", run: () => (filter.value = FILTERS[(FILTERS.indexOf(filter.value) + 1) % FILTERS.length]!) },
  { id: "narrow", title: "Show only clips with a tag, a word of a note, or a length", group: "Choose", keys: ["Ctrl+KeyF"], where: "review", run: () => document.querySelector<HTMLElement>(".narrowing")?.focus() },
  {
    id: "like",
    title: "Show only clips that look like this one, or all again",
    group: "Choose",
    keys: ["Shift+KeyL"],
    where: "clip",
    run: () => (alike.value ? (alike.value = null) : onlyLike(current.value!)),
  },
  { id: "history", title: "History of this video", group: "Choose", keys: ["KeyH"], where: "review", run: () => ((overlay.value = "history"), loadHistory()) },

  { id: "row-next", title: "Next row", group: "Page", keys: ["ArrowDown", "KeyN"], where: "list", repeats: true, run: () => focusRow(1) },
  { id: "row-previous", title: "Previous row", group: "Page", keys: ["ArrowUp", "KeyP"], where: "list", repeats: true, run: () => focusRow(-1) },
  { id: "search", title: "Search", group: "Pages", keys: ["Slash"], where: "everywhere", run: () => (go("#/search"), setTimeout(() => document.querySelector<HTMLElement>("[data-first]")?.focus(), 60)) },
  { id: "go-queue", title: "Go to the queue", group: "Pages", keys: ["Shift+Digit1"], where: "everywhere", run: toPage("queue") },
  { id: "go-review", title: "Go to review", group: "Pages", keys: ["Shift+Digit2"], where: "everywhere", run: toPage("review") },
  { id: "go-video", title: "Go to the video's overview", group: "Pages", keys: ["Shift+Digit3"], where: "everywhere", run: toPage("video") },
  { id: "go-deliverables", title: "Go to deliverables", group: "Pages", keys: ["Shift+Digit4"], where: "everywhere", run: toPage("deliverables") },
  { id: "go-submit", title: "Go to submit", group: "Pages", keys: ["Shift+Digit5"], where: "everywhere", run: toPage("submit") },
  { id: "go-ops", title: "Go to operations", group: "Pages", keys: ["Shift+Digit6"], where: "everywhere", run: toPage("ops") },
  { id: "palette", title: "All commands", group: "Page", keys: ["Ctrl+KeyK"], where: "everywhere", run: () => (overlay.value = "palette") },
  { id: "help", title: "Keys and help", group: "Page", keys: ["Shift+Slash", "F1"], where: "everywhere", run: () => (overlay.value = "help") },
  { id: "theme", title: "Dark, light, or as the system says", group: "Page", keys: ["Shift+KeyT"], where: "everywhere", run: () => setTheme(({ auto: "dark", dark: "light", light: "auto" } as const)[theme.value]) },
];

/** Whoever may only look decides and changes nothing. */
const mayDecide = () => session.value?.role !== "viewer";

export const ACTIONS: Action[] = TABLE.map((one) => {
  const can = WHEN[one.where];
  return { ...one, when: one.group === "Decide" || one.group === "Change" ? () => can() && mayDecide() : can };
});

const BY_ID = new Map(ACTIONS.map((action) => [action.id, action]));
export const action = (id: string): Action => BY_ID.get(id)!;
