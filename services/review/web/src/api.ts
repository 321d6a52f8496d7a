// The API as the pages use it. Answers are the server's models; errors are problem documents with a stable code.

import type { ClipOut, MediaOut } from "./served";

export type { ClipOut as Clip, ClipPage, ClipState, Deliverable, EditOut as Edit, EditPage, EditResult, Manifest, OverviewOut as Overview, SessionOut as Session, VideoOut as Video, VideoPage, VideoSummary } from "./served";

/** How a sheet of small pictures is laid out. */
export interface SpriteMap {
  every: number;
  tiles: number;
  tile_width: number;
  tile_height: number;
  columns: number;
  rows: number;
}

export type Media = Omit<MediaOut, "sprite_map"> & { sprite_map: SpriteMap | null };

/** A refusal or failure that the server explained. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
    readonly clips: ClipOut[] = [],
  ) {
    super(detail);
  }
}

/** No answer at all: the network or the service is away. Trying again is right. */
export class Unreachable extends Error {}

const LONGEST_WAIT_MS = 20_000;

/** When what could not be shown is asked for again. */
export const AGAIN_MS = 4000;

interface Request extends RequestInit {
  json?: unknown;
  /** How long an answer may take, and what ends the wait for it before. */
  within?: number;
  stop?: AbortSignal;
}

export async function call<T>(path: string, { json, within = LONGEST_WAIT_MS, stop, ...rest }: Request = {}): Promise<T> {
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(), within);
  const abort = () => limit.abort();
  stop?.addEventListener("abort", abort);
  if (stop?.aborted) abort();
  try {
    return await ask(path, json, { credentials: "same-origin", signal: limit.signal, ...rest });
  } finally {
    clearTimeout(timer);
    stop?.removeEventListener("abort", abort);
  }
}

async function ask<T>(path: string, json: unknown, how: RequestInit): Promise<T> {
  if (json !== undefined) {
    how.method ??= "POST";
    how.headers = { "content-type": "application/json", ...how.headers };
    how.body = JSON.stringify(json);
  }
  let answer: Response;
  try {
    answer = await fetch(path, how);
  } catch {
    throw new Unreachable("The review service does not answer. It is asked again by itself.");
  }
  if (answer.status === 204) return undefined as T;
  const body = await answer.json().catch(() => null);
  if (answer.ok) return body as T;
  const passes = !body?.code || /^(database|http|objects|broker)\./.test(body.code);
  if ([429, 502, 503, 504].includes(answer.status) && passes) {
    throw new Unreachable(body?.detail ?? "The review service is not ready yet. It is asked again by itself.");
  }
  if (answer.status === 401 && !path.startsWith("/api/session")) {
    dispatchEvent(new Event("signed-out"));
    throw new Unreachable("The token counts no more. Sign in again, and what waits goes on.");
  }
  throw new Problem(answer.status, body?.code ?? `http.${answer.status}`, body?.detail ?? answer.statusText, body?.clips ?? []);
}

/** Asks again for as long as there is no answer at all, at growing distances. */
export async function patiently<T>(ask: () => Promise<T>, tries = Infinity, stop?: AbortSignal): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof Unreachable) || attempt >= tries || stop?.aborted) throw error;
      await new Promise((done) => setTimeout(done, Math.min(3000, 100 * 2 ** attempt)));
    }
  }
}

export function query(values: Record<string, string | number | null | undefined | string[]>): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (Array.isArray(value)) for (const item of value) search.append(name, item);
    else if (value !== null && value !== undefined && value !== "") search.set(name, String(value));
  }
  const text = search.toString();
  return text ? `?${text}` : "";
}

export const stillUrl = (video: string, frame: number, height = 0) => `/api/videos/${video}/frames/${frame}.jpg${height ? `?height=${height}` : ""}`;

/** The frame that stands for a clip. */
export const middle = (clip: { start_frame: number; end_frame: number }): number => Math.floor((clip.start_frame + clip.end_frame - 1) / 2);

export const deliveredUrl = (clip: string, profile: string, name: string) =>
  `/api/clips/${clip}/deliverables/${encodeURIComponent(profile)}/${encodeURIComponent(name)}`;

/** A random name for something that may be sent twice and must count once; also where the page is no secure context. */
export function freshKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
