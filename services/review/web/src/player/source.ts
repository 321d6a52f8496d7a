// The bytes of encoded frames: fetched by range, kept while there is room, asked for by priority.
//
// At most four requests are on their way. Every answer is checked against the object the index describes (its length, and its
// ETag once seen), so that a proxy that was made anew can never show wrong frames. The HTTP cache is passed by: requests for
// ranges of one address would wait for each other there.

import type { FrameIndex } from "./frames";

const IN_FLIGHT = 4;
const LARGEST_WINDOW = 48;
const CACHE_BYTES = 96 * 1024 * 1024;

/** What a player plays: addresses that end at some time, and how to get new ones. */
export interface Address {
  url: string;
  size: number;
  etag?: string | null;
}

export const enum Priority {
  Seek = 0,
  Window = 1,
  Ahead = 2,
}

interface Job {
  first: number;
  last: number; // the frame after the last one
  priority: Priority;
  abort: AbortController;
  waits: Map<number, Wait[]>;
}

interface Wait {
  resolve: (bytes: Uint8Array) => void;
  reject: (reason: unknown) => void;
}

export class SourceChanged extends Error {}

export class FrameSource {
  requests = 0;
  bytes = 0;
  retries = 0;
  onLoaded: (() => void) | null = null;

  private readonly kept = new Map<number, Uint8Array>();
  private keptBytes = 0;
  private readonly waiting: Job[] = [];
  private readonly running = new Set<Job>();
  private etag: string | null;
  private closed = false;

  constructor(
    private readonly index: FrameIndex,
    private address: Address,
    private readonly renew: () => Promise<Address>,
  ) {
    this.etag = address.etag ?? null;
  }

  has(frame: number): boolean {
    return this.kept.has(frame);
  }

  /** The frames of [from, to) whose bytes are here, as ranges. */
  loaded(from: number, to: number): [number, number][] {
    const frames = [...this.kept.keys()].filter((frame) => frame >= from && frame < to).sort((a, b) => a - b);
    const ranges: [number, number][] = [];
    for (const frame of frames) {
      const last = ranges[ranges.length - 1];
      if (last && last[1] === frame) last[1] = frame + 1;
      else ranges.push([frame, frame + 1]);
    }
    return ranges;
  }

  /** The bytes of one frame; a request of its own for exactly these bytes unless they are here or on their way. */
  get(frame: number, priority = Priority.Seek, window = 1, step = 1): Promise<Uint8Array> {
    const bytes = this.kept.get(frame);
    if (bytes) {
      this.kept.delete(frame);
      this.kept.set(frame, bytes);
      return Promise.resolve(bytes);
    }
    return new Promise((resolve, reject) => {
      const wait = { resolve, reject };
      const job = this.jobOf(frame);
      if (job) {
        if (priority < job.priority) job.priority = priority;
        const waits = job.waits.get(frame);
        if (waits) waits.push(wait);
        else job.waits.set(frame, [wait]);
      } else {
        const [first, last] = this.missingAround(frame, window, step);
        this.waiting.push({ first, last, priority, abort: new AbortController(), waits: new Map([[frame, [wait]]]) });
      }
      this.pump();
    });
  }

  /** Has the frames of [from, to) fetched, if they are neither here nor on their way. */
  prefetch(from: number, to: number, priority = Priority.Window): void {
    let frame = Math.max(0, from);
    const end = Math.min(this.index.frames, to);
    while (frame < end) {
      if (this.kept.has(frame) || this.jobOf(frame)) {
        frame += 1;
        continue;
      }
      const [first, last] = this.missingAround(frame, Math.min(LARGEST_WINDOW, end - frame), 1);
      this.waiting.push({ first, last, priority, abort: new AbortController(), waits: new Map() });
      frame = last;
    }
    this.pump();
  }

  /** Drops what nobody waits for any more: windows around a place that has been left. */
  forget(keep: (first: number, last: number) => boolean = () => false): void {
    for (const job of [...this.waiting, ...this.running]) {
      if (job.waits.size || job.priority !== Priority.Window || keep(job.first, job.last)) continue;
      job.abort.abort();
      const place = this.waiting.indexOf(job);
      if (place >= 0) this.waiting.splice(place, 1);
    }
  }

  close(): void {
    this.closed = true;
    for (const job of [...this.waiting, ...this.running]) {
      job.abort.abort();
      for (const waits of job.waits.values()) for (const wait of waits) wait.reject(new DOMException("closed", "AbortError"));
    }
    this.waiting.length = 0;
    this.kept.clear();
  }

  private jobOf(frame: number): Job | undefined {
    for (const job of this.running) if (job.first <= frame && frame < job.last && !job.abort.signal.aborted) return job;
    return this.waiting.find((job) => job.first <= frame && frame < job.last);
  }

  /** A run of frames that are missing and lie side by side in the file, in the direction of play. */
  private missingAround(frame: number, window: number, step: number): [number, number] {
    const free = (n: number) => n >= 0 && n < this.index.frames && !this.kept.has(n) && !this.jobOf(n);
    let first = frame;
    let last = frame + 1;
    const most = Math.min(window, LARGEST_WINDOW);
    if (step < 0) while (last - first < most && free(first - 1) && this.index.follows(first)) first -= 1;
    else while (last - first < most && free(last) && this.index.follows(last)) last += 1;
    return [first, last];
  }

  private pump(): void {
    while (!this.closed && this.running.size < IN_FLIGHT && this.waiting.length) {
      let best = 0;
      // Of the same priority the newest seek is wanted most, and the oldest window.
      this.waiting.forEach((job, place) => {
        const other = this.waiting[best]!;
        if (job.priority < other.priority || (job.priority === other.priority && job.priority === Priority.Seek)) best = place;
      });
      const [job] = this.waiting.splice(best, 1);
      // One of the four is kept free for a seek: it never waits for what is only fetched ahead.
      if (job!.priority !== Priority.Seek && this.running.size >= IN_FLIGHT - 1) {
        this.waiting.push(job!);
        return;
      }
      this.running.add(job!);
      void this.run(job!);
    }
  }

  private async run(job: Job): Promise<void> {
    try {
      for (let attempt = 0; ; attempt++) {
        try {
          await this.fetch(job);
          break;
        } catch (error) {
          if (job.abort.signal.aborted || this.closed || error instanceof SourceChanged || attempt >= 6) throw error;
          this.retries += 1;
          if (error instanceof Expired) this.address = await this.renew();
          else await new Promise((done) => setTimeout(done, Math.min(4000, 150 * 2 ** attempt)));
        }
      }
    } catch (error) {
      for (const waits of job.waits.values()) for (const wait of waits) wait.reject(error);
    } finally {
      this.running.delete(job);
      this.pump();
    }
  }

  private async fetch(job: Job): Promise<void> {
    while (job.first < job.last && this.kept.has(job.first)) this.deliver(job, job.first++, null);
    if (job.first >= job.last) return;
    const [start] = this.index.place(job.first);
    const [, end] = this.index.place(job.last - 1);
    this.requests += 1;
    const answer = await fetch(this.address.url, {
      headers: { Range: `bytes=${start}-${end - 1}` },
      cache: "no-store",
      signal: job.abort.signal,
      credentials: "same-origin",
    });
    if ([401, 403, 404, 410].includes(answer.status)) throw new Expired(`The media address answered ${answer.status}.`);
    if (answer.status !== 206) throw new Error(`The media address answered ${answer.status} to a range.`);
    this.check(answer);
    const reader = answer.body!.getReader();
    let buffer = new Uint8Array(end - start);
    let filled = 0;
    let taken = 0;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      if (filled + value.length > buffer.length) throw new SourceChanged("The answer is longer than the range; reload the page.");
      buffer.set(value, filled);
      filled += value.length;
      this.bytes += value.length;
      while (job.first < job.last && filled - taken >= this.index.size(job.first)) {
        const size = this.index.size(job.first);
        this.deliver(job, job.first++, buffer.slice(taken, taken + size));
        taken += size;
      }
    }
    buffer = new Uint8Array(0);
    if (job.first < job.last) throw new Error("The answer ended early.");
  }

  private check(answer: Response): void {
    const etag = answer.headers.get("ETag");
    const total = /\/(\d+)$/.exec(answer.headers.get("Content-Range") ?? "")?.[1];
    if (total !== undefined && Number(total) !== this.address.size) throw new SourceChanged("The video was made anew; reload the page.");
    if (etag && this.etag && etag !== this.etag) throw new SourceChanged("The video was made anew; reload the page.");
    if (etag) this.etag = etag;
  }

  private deliver(job: Job, frame: number, bytes: Uint8Array | null): void {
    const held = bytes ?? this.kept.get(frame)!;
    if (bytes) this.keep(frame, bytes);
    for (const wait of job.waits.get(frame) ?? []) wait.resolve(held);
    job.waits.delete(frame);
  }

  private keep(frame: number, bytes: Uint8Array): void {
    this.kept.set(frame, bytes);
    this.keptBytes += bytes.length;
    for (const [oldest, old] of this.kept) {
      if (this.keptBytes <= CACHE_BYTES || oldest === frame) break;
      this.kept.delete(oldest);
      this.keptBytes -= old.length;
    }
    this.onLoaded?.();
  }
}

class Expired extends Error {}
