// Decisions on their way to the server. Each is shown at once, kept until the server has answered it for good, and sent again
// with the same key when the service was away: it counts once however often it is sent. They are kept across a reload.

import { batch, signal } from "@preact/signals";
import { call, freshKey, patiently, Problem, type Clip, type ClipState, type Edit, type EditResult } from "./api";
import { board, link, openClip, pending, redoable, route, takeClips, tell, toasts, undoable } from "./store";
import { isLive, many } from "./words";

export interface Decision {
  path: string;
  body: Record<string, unknown>;
  video: string;
  clips: string[];
  to: ClipState | null;
  said: string;
}

const KEPT = "decisions";
export const waiting = signal<Decision[]>(restored());
export const decided = signal<{ at: number }[]>([]);
let sending = 0;
/** The places of edits in the order in which the person decided: answers may overtake each other. */
const places = new Map<string, number>();
let lastPlace = 0;

function restored(): Decision[] {
  try {
    const found: unknown = JSON.parse(localStorage.getItem(KEPT) ?? "[]");
    return Array.isArray(found) ? (found as Decision[]) : [];
  } catch {
    return [];
  }
}

/** The names of this page's decisions; the browser keeps those of its other tabs beside them. */
const own = new Set<unknown>();

function keep(list: Decision[]): void {
  waiting.value = list;
  for (const { body } of list) own.add(body.idempotency_key);
  const all = [...restored().filter(({ body }) => !own.has(body.idempotency_key)), ...list];
  if (all.length) localStorage.setItem(KEPT, JSON.stringify(all));
  else localStorage.removeItem(KEPT);
  const over = new Map<string, ClipState>();
  for (const decision of list) if (decision.to) for (const clip of decision.clips) over.set(clip, decision.to);
  pending.value = over;
}

/** Sends what a reload left behind. */
export function resume(): void {
  keep(waiting.value);
  for (const decision of waiting.value) void deliver(decision);
}

const PAST: Record<string, string> = {
  approve: "Approved",
  skip: "Skipped",
  archive: "Archived",
  group: "Grouped",
  ungroup: "Ungrouped",
  split: "Split",
  merge: "Merged",
  trim: "Trimmed",
  tag: "Tagged",
  note: "Noted",
  undo: "Undone",
};

export const past = (kind: string) => PAST[kind] ?? kind;

/** What an edit was about: a clip that is there still, by its frames. */
export function about({ clips, command }: Edit): string {
  const one = clips.length === 1 ? board.value?.clips.get(clips[0]!) : undefined;
  const what = one ? `frames ${one.start_frame}–${one.end_frame - 1}` : many(clips.length, "clip");
  return Array.isArray(command.profiles) ? `${what} as ${command.profiles.join(", ")}` : what;
}

const SHOWN_AT_ONCE: Record<string, ClipState> = { approve: "review_approved", skip: "review_skipped", group: "review_approved" };

/** An edit of some clips of the open video. */
export function edit(command: string, targets: Clip[], more: Record<string, unknown> = {}): Promise<EditResult | null> {
  const video = board.value?.video;
  if (!video || !targets.length) return Promise.resolve(null);
  const owner = video.duplicate_of ?? video.id;
  return send({
    path: `/api/videos/${owner}/edits`,
    body: { command, clips: targets.map((clip) => clip.id), versions: targets.map(leftAt), ...more, idempotency_key: freshKey() },
    video: video.id,
    clips: targets.map((clip) => clip.id),
    to: SHOWN_AT_ONCE[command] ?? null,
    said: `${PAST[command] ?? command} ${targets.length === 1 ? "a clip" : many(targets.length, "clip")}.`,
  });
}

/** Decides over every clip of the open video that nobody has decided over yet. */
export function decideRest(command: string, rest: Clip[]): Promise<EditResult | null> {
  const video = board.value?.video;
  if (!video) return Promise.resolve(null);
  return send({
    path: `/api/videos/${video.duplicate_of ?? video.id}/rest`,
    body: { command, expected: rest.length, idempotency_key: freshKey() },
    video: video.id,
    clips: rest.map((clip) => clip.id),
    to: SHOWN_AT_ONCE[command] ?? null,
    said: `${PAST[command] ?? command} the rest: ${many(rest.length, "clip")}.`,
  });
}

function send(decision: Decision): Promise<EditResult | null> {
  keep([...waiting.value, decision]);
  return deliver(decision);
}

async function deliver(decision: Decision): Promise<EditResult | null> {
  const place = ++lastPlace;
  sending += 1;
  try {
    if (await afterEarlier(decision)) refreshVersions(decision);
    const result = await patiently(() => call<EditResult>(decision.path, { json: decision.body }));
    batch(() => {
      noteVersions(decision, result.clips);
      takeClips(result.clips);
      forget(decision);
      if (result.edit) {
        remember(result.edit, place);
        redoable.value = [];
        decided.value = [...decided.value, { at: Date.now() }].slice(-500);
        tell(decision.said, "good", result.edit);
      } else tell("Nothing to do: it is so already.");
    });
    return result;
  } catch (error) {
    batch(() => {
      if (error instanceof Problem) takeClips(error.clips);
      forget(decision);
      tell(`Not done: ${(error as Error).message}`, "bad");
    });
    return null;
  } finally {
    sending -= 1;
  }
}

/** Which version this page's own decisions made of which, by clip and version. */
const made = new Map<string, number>();

function noteVersions({ clips, body }: Decision, results: Clip[]): void {
  const versions = (body.versions ?? []) as number[];
  for (const { id, version } of results) {
    const before = versions[clips.indexOf(id)];
    if (before !== undefined && before !== version) made.set(`${id}/${before}`, version);
  }
}

/** The version that this page's own decisions have left of a clip as somebody saw it: a question may be answered long after it was put. */
function leftAt({ id, version }: Clip): number {
  const next = made.get(`${id}/${version}`);
  return next === undefined ? version : leftAt({ id, version: next } as Clip);
}

/** Waits for this page's earlier decisions over the same clips; whether there were any. */
async function afterEarlier(decision: Decision): Promise<boolean> {
  const isRest = decision.path.endsWith("/rest");
  const earlier = () => {
    const list = waiting.value;
    const before = list.slice(0, Math.max(0, list.indexOf(decision)));
    return before.some((other) => other.video === decision.video && (isRest || other.clips.some((clip) => decision.clips.includes(clip))));
  };
  if (!earlier()) return false;
  while (earlier()) await new Promise((done) => setTimeout(done, 10));
  return true;
}

/** The person saw the clips as their own earlier decision left them. */
function refreshVersions(decision: Decision): void {
  const known = board.value?.clips;
  if (!known || !Array.isArray(decision.body.versions)) return;
  const seen = decision.body.versions as number[];
  decision.body.versions = decision.clips.map((id, place) => known.get(id)?.version ?? seen[place]);
}

function remember(edit: Edit, place: number): void {
  places.set(edit.id, place);
  const placeOf = (other: Edit) => places.get(other.id) ?? 0;
  undoable.value = [...undoable.value, edit].sort((one, other) => placeOf(one) - placeOf(other)).slice(-200);
}

function forget(decision: Decision): void {
  keep(waiting.value.filter((other) => other !== decision));
}

/** Takes an edit back, and shows the clip it was about. */
export function undo(made?: Edit): Promise<void> {
  return inTurn(() => takeBack(made));
}

export function redo(): Promise<void> {
  return inTurn(makeAgain);
}

let turn: Promise<void> = Promise.resolve();

/** One after the other, each on what the one before has left. */
function inTurn(work: () => Promise<void>): Promise<void> {
  turn = turn.then(work);
  return turn;
}

/** How often an undo or redo is asked for before the person is told that it did not come about. */
const TRIES = 20;

async function takeBack(made: Edit | undefined): Promise<void> {
  if (sending && link.value === "lost") tell("It is taken back as soon as the service is there again.");
  while (sending) await new Promise((done) => setTimeout(done, 20));
  const edit = made ?? undoable.value.at(-1);
  if (!edit) {
    tell("There is nothing of this session to undo here; earlier decisions are in the history (H).");
    return;
  }
  try {
    const result = await patiently(() => call<EditResult>(`/api/edits/${edit.id}/undo`, { json: {} }), TRIES);
    batch(() => {
      takeClips(result.clips);
      undoable.value = undoable.value.filter((other) => other.id !== edit.id);
      redoable.value = [...redoable.value, edit];
      toasts.value = toasts.value.filter((toast) => toast.edit?.id !== edit.id);
      tell(`Undone: ${past(edit.kind).toLowerCase()}.`, "good");
      returnTo(result.clips);
    });
  } catch (error) {
    if (error instanceof Problem) takeClips(error.clips);
    tell(`Not undone: ${(error as Error).message}`, "bad");
  }
}

async function makeAgain(): Promise<void> {
  const edit = redoable.value.at(-1);
  if (!edit) {
    tell("There is nothing to redo here.");
    return;
  }
  try {
    const key = freshKey();
    const result = await patiently(() => call<EditResult>(`/api/edits/${edit.id}/redo`, { json: { idempotency_key: key } }), TRIES);
    batch(() => {
      takeClips(result.clips);
      redoable.value = redoable.value.filter((other) => other.id !== edit.id);
      if (result.edit) {
        remember(result.edit, ++lastPlace);
        tell(`Done again: ${past(result.edit.kind).toLowerCase()}.`, "good", result.edit);
      }
      returnTo(result.clips);
    });
  } catch (error) {
    if (error instanceof Problem) takeClips(error.clips);
    tell(`Not done again: ${(error as Error).message}`, "bad");
  }
}

/** The page goes to the first clip that an undo brought back, if it shows clips at all. */
function returnTo(found: Clip[]): void {
  if (route.value.page !== "review") return;
  const back = found.filter((clip) => isLive(clip.state)).sort((a, b) => a.start_frame - b.start_frame);
  if (back[0] && !back.some((clip) => clip.id === route.value.clip)) openClip(back[0].id);
}
