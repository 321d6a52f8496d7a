// The API as the pages use it. Answers are the server's models; errors are problem documents with a stable code.

export type ClipState =
  | "pending_review"
  | "review_approved"
  | "exporting"
  | "exported"
  | "export_failed"
  | "keyframing"
  | "keyframed"
  | "keyframe_failed"
  | "embedding"
  | "embedded"
  | "embedding_failed"
  | "review_skipped"
  | "review_archived"
  | "cleaned"
  | "superseded";

export interface Failing {
  code: string;
  message: string;
  stage: string;
}

export interface StoredFile {
  url: string;
  size: number;
  sha256: string;
  etag?: string | null;
  content_type: string;
}

export interface Deliverable {
  profile: string;
  verdict: "pass" | "warn" | "fail" | null;
  manifest: { key: string; size: number };
  files: { role: string; name: string; object: { key: string; size: number; content_type: string } }[];
}

export interface Clip {
  id: string;
  video_id: string;
  state: ClipState;
  start_frame: number;
  end_frame: number;
  version: number;
  approved_by: string | null;
  origin: string;
  confidence: number;
  tags: string[];
  note?: string | null;
  parents: string[];
  children: string[];
  grouped_with: string[];
  last_edit: string | null;
  deliverables: Deliverable[];
  error: Failing | null;
  trace_id: string;
  created_at: string;
  changed_at: string;
}

export interface Progress {
  work_id: string;
  clip_id: string | null;
  stage: string;
  kind: string;
  phase: string;
  fraction: number | null;
  eta_seconds: number | null;
}

export interface VideoSummary {
  id: string;
  source: { kind: string; url?: string; name?: string; key?: string } | null;
  state: string;
  title: string;
  tags: string[];
  frames: number | null;
  rate: string | null;
  duration: number | null;
  error: Failing | null;
  duplicate_of: string | null;
  mastered: boolean;
  created_at: string;
  changed_at: string;
  progress: Progress[];
  clip_states: Partial<Record<ClipState, number>>;
}

export interface Video extends VideoSummary {
  clips: Clip[];
}

export interface SpriteMap {
  every: number;
  tiles: number;
  tile_width: number;
  tile_height: number;
  columns: number;
  rows: number;
}

export interface Media {
  expires_in: number;
  codec: string;
  width: number;
  height: number;
  proxy: StoredFile;
  index: StoredFile;
  audio: StoredFile | null;
  peaks: StoredFile | null;
  sprites: StoredFile[];
  sprite_map: SpriteMap | null;
  captions: Record<string, StoredFile>;
}

export interface Overview {
  frames: number;
  cuts: { start_frame: number; end_frame: number; kind: string; confidence: number }[];
  scenes: { start_frame: number; end_frame: number }[];
  scores: { every: number; threshold: number | null; values: number[] } | null;
  peaks: { every_seconds: number; values: [number, number][] } | null;
  decisions_per_hour?: number | null;
}

export interface Edit {
  id: string;
  video_id: string;
  kind: string;
  by: string;
  clips: string[];
  made_at: string;
  release_at: string;
  undone_by: string | null;
  redone_by?: string | null;
}

export interface EditResult {
  edit: Edit | null;
  unchanged: string | null;
  clips: Clip[];
}

export interface Session {
  auth: "open" | "token";
  name: string;
  role: "viewer" | "reviewer" | "operator";
}

export interface Page<T> {
  items: T[];
  next: string | null;
}

/** A refusal or failure that the server explained. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
    readonly clips: Clip[] = [],
  ) {
    super(detail);
  }
}

/** No answer at all: the network or the service is away. Trying again is right. */
export class Unreachable extends Error {}

const LONGEST_WAIT_MS = 20_000;

export async function call<T>(path: string, init: RequestInit & { json?: unknown } = {}): Promise<T> {
  const { json, ...rest } = init;
  const how: RequestInit = { credentials: "same-origin", signal: AbortSignal.timeout(LONGEST_WAIT_MS), ...rest };
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
  if ([502, 503, 504].includes(answer.status) && passes) {
    throw new Unreachable(body?.detail ?? "The review service is not ready yet. It is asked again by itself.");
  }
  if (answer.status === 401 && !path.startsWith("/api/session")) {
    dispatchEvent(new Event("signed-out"));
    throw new Unreachable("The token counts no more. Sign in again, and what waits goes on.");
  }
  throw new Problem(answer.status, body?.code ?? `http.${answer.status}`, body?.detail ?? answer.statusText, body?.clips ?? []);
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

export const deliveredUrl = (clip: string, profile: string, name: string) =>
  `/api/clips/${clip}/deliverables/${encodeURIComponent(profile)}/${encodeURIComponent(name)}`;

/** A random name for something that may be sent twice and must count once; also where the page is no secure context. */
export function freshKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
