// Made by python -m services.review.api.typescript from the API's document and the manifest's model. Not edited by hand.

export interface ActBody {
  by: string;
}

export interface AuditEntry {
  at: string;
  actor: string;
  role: string;
  action: string;
  status: number;
}

export interface AuditPage {
  entries: AuditEntry[];
  next: string | null;
}

export interface BatchBody {
  command: "approve" | "skip" | "archive" | "tag";
  clips: Seen[];
  add: string[] | null;
  remove: string[] | null;
  by: string;
  idempotency_key: string | null;
}

export interface BatchPart {
  video_id: string | null;
  edit: EditOut | null;
  unchanged: string | null;
  problem: ProblemOut | null;
  clips: ClipOut[];
}

export interface BatchResult {
  results: BatchPart[];
}

export interface BatchUndoBody {
  edits: string[];
  by: string;
}

export interface ClipMark {
  start_frame: number;
  end_frame: number;
  id: string;
  state: ClipState;
  confidence: number;
}

export interface ClipMedia {
  video_id: string;
  codec: string;
  description: string;
  width: number;
  height: number;
  rate: string;
  timebase: string;
  frames_of_video: number;
  first_frame: number;
  offset: number;
  sizes: number[];
  pts: number[];
  proxy: FileOut;
  audio: FileOut | null;
  expires_at: string;
  clip_id: string;
}

export interface ClipOut {
  id: string;
  video_id: string;
  title: string;
  rate: string | null;
  state: ClipState;
  start_frame: number;
  end_frame: number;
  version: number;
  trace_id: string;
  approved_by: string | null;
  is_virtual: boolean;
  origin: string;
  confidence: number;
  tags: string[];
  note: string;
  parents: string[];
  children: string[];
  grouped_with: string[];
  last_edit: string | null;
  deliverables: Deliverable[];
  error: ErrorOut | null;
  created_at: string;
  changed_at: string;
}

export interface ClipPage {
  clips: ClipOut[];
  next: string | null;
}

export type ClipState = "pending_review" | "review_approved" | "exporting" | "exported" | "keyframing" | "keyframed" | "embedding" | "embedded" | "export_failed" | "keyframe_failed" | "embedding_failed" | "review_skipped" | "review_archived" | "cleaned" | "superseded";

export interface CutOut {
  start_frame: number;
  end_frame: number;
  kind: string;
  confidence: number;
}

export interface DeadLetterDetail {
  id: string;
  consumers: string[];
  topic: string;
  partition: number;
  offset: number;
  code: string;
  reason: string;
  state: "open" | "replayed" | "discarded";
  recorded_at: string;
  acted_at: string | null;
  acted_by: string | null;
  key_base64: string | null;
  value_base64: string | null;
  text: string | null;
  headers: [string, string][];
}

export interface DeadLetterOut {
  id: string;
  consumers: string[];
  topic: string;
  partition: number;
  offset: number;
  code: string;
  reason: string;
  state: "open" | "replayed" | "discarded";
  recorded_at: string;
  acted_at: string | null;
  acted_by: string | null;
}

export interface DeadLetterPage {
  dead_letters: DeadLetterOut[];
  next: string | null;
}

export interface Deliverable {
  profile: string;
  manifest: ObjectRef;
  files: DeliverableFile[];
  verdict: Verdict;
  finding_codes: string[];
}

export interface DeliverableFile {
  role: string;
  name: string;
  object: ObjectRef;
}

export interface DeliveredOut {
  clip: ClipOut;
  files: Record<string, Record<string, FileOut>>;
}

export interface DeliveredPage {
  deliverables: DeliveredOut[];
  next: string | null;
}

export interface EditBody {
  command: "approve" | "skip" | "archive" | "group" | "ungroup" | "split" | "merge" | "trim" | "tag" | "note";
  clips: string[];
  versions: number[];
  at: number | null;
  start: number | null;
  end: number | null;
  add: string[] | null;
  remove: string[] | null;
  note: string | null;
  profiles: string[] | null;
  by: string;
  idempotency_key: string | null;
}

export interface EditOut {
  id: string;
  video_id: string;
  kind: string;
  by: string;
  clips: string[];
  made_at: string;
  release_at: string;
  undone_by: string | null;
  redo_of: string | null;
  redone_by: string | null;
  command: Record<string, unknown>;
}

export interface EditPage {
  edits: EditOut[];
  next: string | null;
}

export interface EditResult {
  edit: EditOut | null;
  unchanged: string | null;
  repeated: boolean;
  clips: ClipOut[];
}

export interface ErrorOut {
  code: string;
  message: string;
  stage: string;
}

export interface FailureOut {
  work_id: string;
  service: string;
  kind: string;
  video_id: string;
  clip_id: string | null;
  run: number;
  attempts: number;
  code: string;
  message: string;
  failed_at: string | null;
}

export interface FailurePage {
  failures: FailureOut[];
  next: string | null;
}

export interface FileOut {
  url: string;
  size: number;
  sha256: string;
  etag: string;
  content_type: string;
}

export interface FrameRange {
  start: number;
  end: number;
}

export interface HTTPValidationError {
  detail: ValidationError[];
}

export interface IndexSlice {
  video_id: string;
  codec: string;
  description: string;
  width: number;
  height: number;
  rate: string;
  timebase: string;
  frames_of_video: number;
  first_frame: number;
  offset: number;
  sizes: number[];
  pts: number[];
  proxy: FileOut;
  audio: FileOut | null;
  expires_at: string;
}

export interface Lineage {
  video_id: string;
  source: ObjectRef;
  master: ObjectRef | null;
  master_frames_sha256: string | null;
  frames: FrameRange;
  rate: string;
  start: string;
  end: string;
  start_timecode: string;
  end_timecode: string;
}

export interface LogEntry {
  position: string;
  id: string;
  type: string;
  subject: string;
  video_id: string | null;
  clip_id: string | null;
  origin: string;
  trace_id: string;
  happened_at: string;
  recorded_at: string;
  body: Record<string, unknown>;
}

export interface LogPage {
  events: LogEntry[];
  next: string | null;
}

export interface Loudness {
  integrated: number | null;
  range: number | null;
  true_peak: number | null;
  gain: number | null;
}

export interface Manifest {
  schema_version: "1.0";
  clip_id: string;
  trace_id: string;
  title: string;
  tags: string[];
  profile: ProfileUsed;
  lineage: Lineage;
  files: ManifestFile[];
  qc: QcReport;
  tools: Record<string, string>;
}

export interface ManifestFile {
  role: string;
  name: string;
  size: number;
  sha256: string;
  content_type: string;
  pictures: PictureStream | null;
  sound: SoundStream | null;
  facts: Record<string, string>;
}

export type MasteringPolicy = "eager" | "approved" | "none";

export interface MediaOut {
  expires_in: number;
  codec: string;
  width: number;
  height: number;
  proxy: FileOut;
  index: FileOut;
  audio: FileOut | null;
  peaks: FileOut | null;
  sprites: FileOut[];
  sprite_map: Record<string, unknown> | null;
  captions: Record<string, FileOut>;
}

export interface ObjectRef {
  key: string;
  size: number;
  sha256: string;
  content_type: string;
}

export interface ObjectSource {
  kind: "object";
  key: string;
  name: string;
}

export interface Options {
  needs_splicing: boolean;
  review: ReviewPolicy;
  mastering: MasteringPolicy;
  detector: string;
  profiles: string[];
  caption_languages: string[];
}

export interface OverviewOut {
  video_id: string;
  frames: number | null;
  rate: string | null;
  duration: number | null;
  cuts: CutOut[];
  scenes: RangeOut[];
  scores: ScoresOut | null;
  peaks: PeaksOut | null;
  sprites: FileOut[];
  sprite_map: Record<string, unknown> | null;
  captions: Record<string, FileOut>;
  clips: ClipMark[];
  decisions: Partial<Record<ClipState, number>>;
  decisions_per_hour: number;
}

export interface PartOut {
  number: number;
  size: number;
  url: string;
}

export interface PartResult {
  number: number;
  size: number;
}

export interface PartsBody {
  numbers: number[];
}

export interface PartsOut {
  expires_in: number;
  parts: PartOut[];
}

export interface PeaksOut {
  every_seconds: number;
  values: [number, number][];
}

export interface PictureStream {
  codec: string;
  width: number;
  height: number;
  pixel_format: string;
  frames: number;
  rate: string;
  duration: string;
  color_range: string;
  color_space: string;
  color_transfer: string;
  color_primaries: string;
}

export interface ProblemOut {
  status: number;
  code: string;
  detail: string;
}

export interface ProfileOut {
  name: string;
  version: number;
  purpose: string;
  origin: "house" | "folder" | "store";
  extension: string;
  sha256: string;
  document: Record<string, unknown>;
}

export interface ProfileUsed {
  name: string;
  version: number;
  sha256: string;
}

export interface ProfilesOut {
  profiles: ProfileOut[];
}

export interface ProgressOut {
  work_id: string;
  clip_id: string | null;
  stage: string;
  kind: string;
  phase: string;
  done: number;
  total: number | null;
  unit: string;
  fraction: number | null;
  speed: number | null;
  eta_seconds: number | null;
  changed_at: string;
}

export interface QcFinding {
  code: string;
  verdict: Verdict;
  message: string;
  frames: FrameRange | null;
  start: string | null;
  end: string | null;
  file: string;
  measured: string;
  limit: string;
}

export interface QcReport {
  verdict: Verdict;
  checks: string[];
  findings: QcFinding[];
  loudness: Loudness | null;
  frames: number;
  samples: number;
}

export interface RangeOut {
  start_frame: number;
  end_frame: number;
}

export interface RedoBody {
  by: string;
  idempotency_key: string | null;
}

export interface RequestBody {
  source: UrlSource | ObjectSource | UploadSource;
  title: string | null;
  tags: string[];
  options: Options;
  idempotency_key: string | null;
}

export interface RequestResult {
  event_id: string;
  idempotency_key: string;
  video_id: string;
}

export interface RestBody {
  command: "approve" | "skip" | "archive";
  expected: number | null;
  by: string;
  idempotency_key: string | null;
}

export interface Resumed {
  resumed: number;
}

export interface RetryBody {
  service: string | null;
}

export type ReviewPolicy = "human" | "auto";

export interface RunningList {
  running: RunningOut[];
}

export interface RunningOut {
  work_id: string;
  service: string;
  kind: string;
  video_id: string;
  clip_id: string | null;
  seconds: number | null;
  progress: Record<string, unknown> | null;
}

export interface ScoresOut {
  every: number;
  values: number[];
}

export interface Seen {
  id: string;
  version: number;
}

export interface SessionBody {
  token: string;
}

export interface SessionOut {
  auth: "open" | "token";
  name: string;
  role: "viewer" | "reviewer" | "operator";
}

export interface ShardOut {
  name: string;
  samples: number;
  bytes: number;
  url: string;
}

export interface SoundStream {
  codec: string;
  sample_rate: number;
  channels: number;
  layout: string;
  duration: string;
}

export interface SpanOut {
  depth: number;
  service: string;
  name: string;
  start: number;
  end: number;
  drawn_from: number;
  drawn_to: number;
  queue_seconds: number | null;
  status: string;
  trace_id: string;
  span_id: string;
}

export interface StageOut {
  service: string;
  kind: string;
  waiting: number;
  oldest_seconds: number | null;
  running: number;
  failed: number;
  failures_last_hour: number;
  done_last_hour: number;
  seconds_p50: number | null;
  seconds_p95: number | null;
}

export interface StagesOut {
  stages: StageOut[];
  unpublished: Record<string, number>;
}

export interface TokenBody {
  name: string;
  role: "viewer" | "reviewer" | "operator";
  days: number | null;
}

export interface TokenList {
  tokens: TokenOut[];
}

export interface TokenMade {
  id: string;
  name: string;
  role: "viewer" | "reviewer" | "operator";
  expires_at: string | null;
  token: string;
}

export interface TokenOut {
  id: string;
  name: string;
  role: "viewer" | "reviewer" | "operator";
  created_at: string;
  created_by: string;
  expires_at: string | null;
  revoked_at: string | null;
}

export interface TraceOut {
  trace_id: string;
  origin: string | null;
  seconds: number;
  idle: [number, number][];
  lines: SpanOut[];
}

export interface TrainingSetOut {
  digest: string;
  samples: number;
  bytes: number;
  shards: ShardOut[];
  index: string;
}

export interface UndoBody {
  by: string;
}

export interface UploadBody {
  name: string;
  size: number;
  content_type: string;
  sha256: string | null;
  fingerprint: string | null;
}

export interface UploadOut {
  upload_id: string;
  name: string;
  size: number;
  part_bytes: number;
  parts: number;
  have: number[];
  received: number;
  state: "open" | "complete";
  direct: boolean;
  source: UploadSource;
}

export interface UploadSource {
  kind: "upload";
  upload_id: string;
  name: string;
}

export interface UrlSource {
  kind: "url";
  url: string;
  most_entries: number | null;
}

export interface ValidationError {
  loc: (string | number)[];
  msg: string;
  type: string;
  input: unknown;
  ctx: Record<string, unknown>;
}

export type Verdict = "pass" | "warn" | "fail";

export interface VideoOut {
  id: string;
  source: UrlSource | ObjectSource | UploadSource | null;
  state: VideoState;
  title: string;
  tags: string[];
  frames: number | null;
  rate: string | null;
  duration: number | null;
  error: ErrorOut | null;
  duplicate_of: string | null;
  mastered: boolean;
  trace_id: string;
  created_at: string;
  changed_at: string;
  progress: ProgressOut[];
  clip_states: Partial<Record<ClipState, number>>;
  clips: ClipOut[];
  entries: string[];
}

export interface VideoPage {
  videos: VideoSummary[];
  next: string | null;
}

export type VideoState = "new" | "downloading" | "downloaded" | "preprocessing" | "preprocessed" | "detecting_scenes" | "ready" | "download_failed" | "preprocess_failed" | "detect_scenes_failed" | "rejected";

export interface VideoSummary {
  id: string;
  source: UrlSource | ObjectSource | UploadSource | null;
  state: VideoState;
  title: string;
  tags: string[];
  frames: number | null;
  rate: string | null;
  duration: number | null;
  error: ErrorOut | null;
  duplicate_of: string | null;
  mastered: boolean;
  trace_id: string;
  created_at: string;
  changed_at: string;
  progress: ProgressOut[];
  clip_states: Partial<Record<ClipState, number>>;
}

export interface WorkState {
  work_id: string;
  service: string;
  state: "waiting" | "cancelled";
}
