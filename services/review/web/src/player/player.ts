// The player: shows exactly the frame it says. It knows frames, not clips or pages, and no framework.
//
// Seeking: the newest wish wins, up to four are worked on at once, and a picture is drawn only if it is newer than the one shown.
// A place that was expected has its picture at hand, and is drawn before the seek returns.
// Playing: the frames to show are a list of numbers made ahead, so that a loop or a stop is exact in both directions; each has a
// moment at which it is due. The clock is the sound's while that really advances, else the page's. A late page catches up by showing
// a frame at each refresh; when that does not do, the clock and the sound wait for the picture, and only at speeds that a screen
// cannot keep up with are frames left out.

import { FrameDecoder } from "./decoder";
import { FrameIndex } from "./frames";
import { FrameSource, Priority, SourceChanged, type Address } from "./source";
import { Sound } from "./sound";

export interface File extends Address {
  sha256?: string;
}

/** What there is to play of a video. `still` gives the address of one exact frame as a picture. */
export interface Playable {
  id: string;
  codec: string;
  proxy: File;
  index: File;
  audio: File | null;
  still: (frame: number) => string;
}

export type Mode = "codecs" | "stills";

export interface State {
  frame: number;
  target: number;
  playing: boolean;
  rate: number;
  loop: boolean;
  muted: boolean;
  stalled: boolean;
  mode: Mode | null;
  error: string | null;
}

export interface SeekMetric {
  frame: number;
  ms: number;
  cold: boolean;
}

export interface Metrics {
  seeks: SeekMetric[];
  presented: number;
  dropped: number;
  slips: number;
  stalls: number;
  startMs: number;
  latestMs: number;
  requests: number;
  bytes: number;
  retries: number;
  decoded: number;
  reopened: number;
  draws: { frame: number; at: number }[];
}

interface Shown {
  frame: number;
  due: number;
  wrapped: boolean;
  picture: VideoFrame;
}

const AHEAD = 6;
const SEEKS_IN_FLIGHT = 4;
const SETTLE_MS = 80;
const NEIGHBOURS = 15;
const KEPT_DRAWS = 4000;
const DISPLAY_RATE = 60;

export class Player {
  readonly state: State = {
    frame: -1,
    target: 0,
    playing: false,
    rate: 1,
    loop: true,
    muted: false,
    stalled: false,
    mode: null,
    error: null,
  };
  readonly metrics: Metrics = {
    seeks: [],
    presented: 0,
    dropped: 0,
    slips: 0,
    stalls: 0,
    startMs: 0,
    latestMs: 0,
    requests: 0,
    bytes: 0,
    retries: 0,
    decoded: 0,
    reopened: 0,
    draws: [],
  };
  index: FrameIndex | null = null;
  source: FrameSource | null = null;
  in = 0;
  out = 0;

  private readonly context: CanvasRenderingContext2D;
  private decoder: FrameDecoder | null = null;
  private sound: Sound | null = null;
  private playable: Playable | null = null;
  private renewal: (() => Promise<Playable>) | null = null;
  private generation = 0;

  /** Pictures of places that are expected next; null while they are on their way. */
  private readonly ready = new Map<number, VideoFrame | HTMLImageElement | null>();
  private wanted: { frame: number; asked: number } | null = null;
  private seeking = 0;
  private ticket = 0;
  private shownTicket = 0;
  private waiters: { frame: number; ticket: number; done: () => void }[] = [];
  private wasNear = false;
  private settle: ReturnType<typeof setTimeout> | undefined;

  private run: Run | null = null;

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly video: HTMLVideoElement,
    private readonly changed: () => void,
    private readonly forceStills = false,
  ) {
    this.context = canvas.getContext("2d", { alpha: false })!;
  }

  /** Opens a video; the first picture comes with the first seek. */
  async open(playable: Playable, renewal: () => Promise<Playable>): Promise<void> {
    this.close();
    const generation = this.generation;
    this.playable = playable;
    this.renewal = renewal;
    this.set({ error: null, frame: -1, target: 0, mode: null });
    try {
      const answer = await retried(async () => {
        const got = await fetch(this.playable!.index.url, { credentials: "same-origin" });
        if (got.status === 401 || got.status === 403 || got.status === 410) this.playable = await renewal();
        if (!got.ok) throw new Error(`The frame index could not be had (${got.status}).`);
        return got.arrayBuffer();
      });
      if (generation !== this.generation) return;
      const index = FrameIndex.parse(answer);
      const config: VideoDecoderConfig = {
        codec: index.codec || playable.codec,
        description: index.description,
        codedWidth: index.width,
        codedHeight: index.height,
        optimizeForLatency: true,
      };
      const can = !this.forceStills && (await FrameDecoder.supports(config));
      if (generation !== this.generation) return;
      this.index = index;
      this.canvas.width = index.width;
      this.canvas.height = index.height;
      this.in = 0;
      this.out = index.frames;
      if (can) {
        this.source = new FrameSource(index, this.playable!.proxy, async () => (await this.renewed()).proxy);
        this.source.onLoaded = () => this.changed();
        this.decoder = new FrameDecoder(config);
      } else {
        this.video.src = this.playable!.proxy.url;
        this.video.muted = true;
      }
      if (playable.audio) {
        this.sound = new Sound(playable.audio.url);
        this.sound.muted = this.state.muted;
      }
      this.set({ mode: can ? "codecs" : "stills" });
      this.pumpSeeks();
    } catch (error) {
      if (generation === this.generation) this.fail(error);
    }
  }

  close(): void {
    this.generation += 1;
    this.stopRun();
    clearTimeout(this.settle);
    this.expect([]);
    this.source?.close();
    this.decoder?.close();
    this.sound?.close();
    this.source = null;
    this.decoder = null;
    this.sound = null;
    this.index = null;
    this.wanted = null;
    this.seeking = 0;
    this.answerWaiters(true);
    if (this.video.src) {
      this.video.pause();
      this.video.removeAttribute("src");
      this.video.load();
    }
    this.video.hidden = true;
  }

  /** The range that play and loop keep to. */
  bound(start: number, end: number): void {
    this.in = start;
    this.out = end;
    if (this.run) this.restart();
    this.changed();
  }

  /** Shows a frame. The promise ends when it, or one asked for later, is on the screen. */
  seek(frame: number): Promise<void> {
    const target = this.clamped(frame);
    const distance = Math.abs(target - this.state.target);
    this.set({ target });
    if (this.run) {
      this.restart(target);
      return Promise.resolve();
    }
    const asked = performance.now();
    const ready = this.ready.get(target);
    if (ready) {
      this.shownTicket = ++this.ticket;
      this.present(ready, target, asked, false);
    }
    this.wanted = ready ? null : { frame: target, asked };
    // A leap leaves its old neighbourhood behind at once; what is still on its way from there would only be in the way.
    if (distance > NEIGHBOURS) this.forgetFrom(target);
    const promise = new Promise<void>((done) => this.waiters.push({ frame: target, ticket: ready ? this.ticket : this.ticket + 1, done }));
    if (ready) this.answerWaiters(false);
    else this.pumpSeeks();
    clearTimeout(this.settle);
    // One short step may be chance, and its neighbours would only hold it up; two are a way that is being gone.
    const near = distance > 0 && distance <= 10;
    if (near && (this.wasNear || this.source?.has(target))) this.prefetchAround(target);
    else this.settle = setTimeout(() => this.prefetchAround(target), SETTLE_MS);
    this.wasNear = near;
    return promise;
  }

  step(frames: number): Promise<void> {
    if (this.state.playing) this.pause();
    return this.seek(this.state.target + frames);
  }

  /** Plays at a rate; negative is backwards. */
  play(rate = 1): void {
    if (!this.index) return;
    this.stopRun();
    let from = this.state.target;
    const inside = from >= this.in && from < this.out;
    // Play at the end begins again; play outside the bounds keeps to the whole video.
    if (inside && rate > 0 && from === this.out - 1) from = this.in;
    if (inside && rate < 0 && from === this.in) from = this.out - 1;
    this.set({ playing: true, rate, target: from });
    this.start(from);
  }

  pause(): void {
    if (!this.state.playing) return;
    this.stopRun();
    this.set({ playing: false, rate: 1, stalled: false, target: this.state.frame < 0 ? this.state.target : this.state.frame });
  }

  toggle(): void {
    if (this.state.playing) this.pause();
    else this.play(1);
  }

  /** J and L: faster in the same direction at each call, or the other direction at single speed. */
  shuttle(direction: 1 | -1): void {
    const { playing, rate } = this.state;
    const next = playing && Math.sign(rate) === direction ? direction * Math.min(8, Math.abs(rate) * 2) : direction;
    this.play(next);
  }

  setLoop(loop: boolean): void {
    this.set({ loop });
    if (this.run) this.restart();
  }

  setMuted(muted: boolean): void {
    this.set({ muted });
    if (this.sound) this.sound.muted = muted;
  }

  /** Has the beginning of another range fetched, so that a change to it is one draw. */
  prefetch(from: number, to: number): void {
    this.source?.prefetch(from, to, Priority.Ahead);
  }

  /** Has the pictures of the few places that come next decoded ahead, so that going there is one draw. Others are let go. */
  expect(frames: number[]): void {
    for (const [frame, picture] of this.ready) {
      if (frames.includes(frame)) continue;
      close(picture);
      this.ready.delete(frame);
    }
    for (const frame of frames) if (!this.ready.has(frame)) void this.makeReady(frame);
  }

  count(): Metrics {
    const { metrics } = this;
    metrics.requests = this.source?.requests ?? 0;
    metrics.bytes = this.source?.bytes ?? 0;
    metrics.retries = this.source?.retries ?? 0;
    metrics.decoded = this.decoder?.decoded ?? 0;
    metrics.reopened = this.decoder?.reopened ?? 0;
    return metrics;
  }

  reset(): void {
    Object.assign(this.metrics, { seeks: [], presented: 0, dropped: 0, slips: 0, stalls: 0, startMs: 0, latestMs: 0, draws: [] });
  }

  private clamped(frame: number): number {
    const last = (this.index?.frames ?? Number.MAX_SAFE_INTEGER) - 1;
    return Math.max(0, Math.min(last, Math.round(frame)));
  }

  private set(change: Partial<State>): void {
    Object.assign(this.state, change);
    this.changed();
  }

  private fail(error: unknown): void {
    if (error instanceof DOMException && error.name === "AbortError") return;
    if (error instanceof SourceChanged && this.playable && this.renewal) {
      const frame = this.state.target;
      const { in: start, out: end } = this;
      void this.renewal()
        .then((playable) => this.open(playable, this.renewal!))
        .then(() => {
          this.bound(start, end);
          void this.seek(frame);
        });
      return;
    }
    this.stopRun();
    this.set({ playing: false, error: error instanceof Error ? error.message : String(error) });
  }

  private async renewed(): Promise<Playable> {
    this.playable = await this.renewal!();
    if (this.playable.audio) this.sound?.renew(this.playable.audio.url);
    return this.playable;
  }

  // Seeking

  private pumpSeeks(): void {
    while (this.index && this.state.mode && this.wanted && this.seeking < SEEKS_IN_FLIGHT) {
      const wish = this.wanted;
      this.wanted = null;
      this.seeking += 1;
      void this.carryOut(wish, ++this.ticket);
    }
  }

  private async carryOut(wish: { frame: number; asked: number }, ticket: number): Promise<void> {
    const generation = this.generation;
    const cold = this.source ? !this.source.has(wish.frame) : true;
    try {
      const picture = await this.picture(wish.frame, () => ticket < this.shownTicket);
      if (generation !== this.generation || !picture) {
        close(picture);
        return;
      }
      if (ticket > this.shownTicket && !this.run) {
        this.shownTicket = ticket;
        this.present(picture, wish.frame, wish.asked, cold);
      }
      close(picture);
    } catch (error) {
      if (generation === this.generation) this.fail(error);
    } finally {
      if (generation === this.generation) {
        this.seeking -= 1;
        this.answerWaiters(false);
        this.pumpSeeks();
      }
    }
  }

  private present(picture: VideoFrame | HTMLImageElement, frame: number, asked: number, cold: boolean): void {
    this.draw(picture, frame);
    // A video that stood still somewhere else does not cover the picture.
    if (!this.state.playing) this.video.hidden = true;
    const seeks = this.metrics.seeks;
    seeks.push({ frame, ms: performance.now() - asked, cold });
    if (seeks.length > KEPT_DRAWS) seeks.splice(0, seeks.length / 2);
    if (this.state.error) this.set({ error: null });
  }

  private async picture(frame: number, isStale: () => boolean, priority = Priority.Seek): Promise<VideoFrame | HTMLImageElement | null> {
    if (!this.decoder || !this.source) return loadedImage(this.playable!.still(frame));
    const bytes = await this.source.get(frame, priority);
    if (isStale()) return null;
    return this.decoder.decode(bytes);
  }

  private async makeReady(frame: number): Promise<void> {
    const generation = this.generation;
    const isWanted = () => generation === this.generation && this.ready.get(frame) === null;
    this.ready.set(frame, null);
    // One that cannot be had is asked for again when somebody goes there, and fails then if it has to.
    const picture = await this.picture(frame, () => !isWanted(), Priority.Ahead).catch(() => null);
    if (!isWanted()) close(picture);
    else if (picture) this.ready.set(frame, picture);
    else this.ready.delete(frame);
  }

  private answerWaiters(all: boolean): void {
    const done = this.waiters.filter((waiter) => all || waiter.ticket <= this.shownTicket || (!this.wanted && !this.seeking));
    this.waiters = this.waiters.filter((waiter) => !done.includes(waiter));
    for (const waiter of done) waiter.done();
  }

  private forgetFrom(frame: number): void {
    this.source?.forget((first, last) => first <= frame + NEIGHBOURS && last >= frame - NEIGHBOURS);
  }

  private prefetchAround(frame: number): void {
    if (!this.source || this.run) return;
    this.forgetFrom(frame);
    this.source.prefetch(frame + 1, frame + 1 + NEIGHBOURS);
    this.source.prefetch(frame - NEIGHBOURS, frame);
  }

  private draw(picture: CanvasImageSource, frame: number): void {
    this.context.drawImage(picture, 0, 0, this.canvas.width, this.canvas.height);
    const draws = this.metrics.draws;
    draws.push({ frame, at: performance.now() });
    if (draws.length > KEPT_DRAWS) draws.splice(0, draws.length / 2);
    this.set({ frame });
  }

  // Playing

  private bounds(from: number): [number, number] {
    return from >= this.in && from < this.out ? [this.in, this.out] : [0, this.index!.frames];
  }

  private start(from: number): void {
    clearTimeout(this.settle);
    this.wanted = null;
    this.shownTicket = ++this.ticket;
    const [first, end] = this.bounds(from);
    if (this.state.mode === "stills") {
      this.startVideo(from, first, end);
      return;
    }
    const audible = this.sound && !this.state.muted && (this.state.rate === 1 || this.state.rate === 2);
    this.run = new Run(this.index!, this.source!, this.decoder!, {
      from,
      first,
      end,
      rate: this.state.rate,
      loop: this.state.loop,
      sound: audible ? this.sound : null,
      show: (picture, frame) => {
        this.metrics.presented += 1;
        this.state.target = frame;
        this.draw(picture, frame);
      },
      dropped: (count) => (this.metrics.dropped += count),
      slipped: () => (this.metrics.slips += 1),
      late: (ms) => (this.metrics.latestMs = Math.max(this.metrics.latestMs, ms)),
      started: (ms) => (this.metrics.startMs = ms),
      stalled: (is) => {
        if (is) this.metrics.stalls += 1;
        this.set({ stalled: is });
      },
      ended: () => this.pause(),
      failed: (error) => this.fail(error),
    });
  }

  private restart(from = this.state.frame): void {
    if (!this.state.playing) return;
    this.stopRun();
    this.start(from < 0 ? this.state.target : from);
  }

  private stopRun(): void {
    this.run?.stop();
    this.run = null;
    this.sound?.stop();
    if (this.state.mode === "stills" && !this.video.hidden) this.stopVideo();
  }

  // Without WebCodecs: a <video> plays, and stills are exact again as soon as it stops.

  private videoLoop = 0;

  private startVideo(from: number, first: number, end: number): void {
    const index = this.index!;
    const { rate } = this.state;
    if (rate < 0) {
      void this.walkStills(from, first, end);
      return;
    }
    const number = ++this.videoLoop;
    const middle = (frame: number) => (index.time(frame) + index.time(frame + 1)) / 2;
    this.video.playbackRate = rate;
    this.video.currentTime = middle(from);
    this.video.hidden = false;
    void this.video.play().catch((error) => this.fail(error));
    if (this.sound && !this.state.muted && rate <= 2) this.sound.start(index.time(from), rate);
    const look = () => {
      if (number !== this.videoLoop || !this.state.playing) return;
      const frame = index.frameAt(this.video.currentTime);
      if (this.video.currentTime >= index.time(end) - 0.001 || this.video.ended) {
        if (!this.state.loop) {
          this.state.frame = end - 1;
          this.pause();
          return;
        }
        this.video.currentTime = middle(first);
        if (this.sound && !this.state.muted && rate <= 2) this.sound.start(index.time(first), rate);
        void this.video.play();
      }
      this.set({ frame: Math.min(frame, end - 1), target: Math.min(frame, end - 1) });
      requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  }

  private stopVideo(): void {
    this.videoLoop += 1;
    this.video.pause();
    const frame = this.clamped(this.state.frame);
    const still = this.playable && this.index ? loadedImage(this.playable.still(frame)) : null;
    void still
      ?.then((picture) => {
        if (this.state.playing || this.state.target !== frame) return;
        this.draw(picture, frame);
        this.video.hidden = true;
      })
      .catch(() => {});
  }

  private async walkStills(from: number, first: number, end: number): Promise<void> {
    const number = ++this.videoLoop;
    let frame = from;
    while (number === this.videoLoop && this.state.playing) {
      const picture = await loadedImage(this.playable!.still(frame)).catch(() => null);
      if (number !== this.videoLoop || !this.state.playing) return;
      if (picture) this.draw(picture, frame);
      this.state.target = frame;
      frame -= Math.max(1, Math.abs(this.state.rate));
      if (frame < first) {
        if (!this.state.loop) return this.pause();
        frame = end - 1;
      }
    }
  }
}

interface RunOptions {
  from: number;
  first: number;
  end: number;
  rate: number;
  loop: boolean;
  sound: Sound | null;
  show: (picture: VideoFrame, frame: number) => void;
  dropped: (count: number) => void;
  slipped: () => void;
  late: (ms: number) => void;
  started: (ms: number) => void;
  stalled: (is: boolean) => void;
  ended: () => void;
  failed: (error: unknown) => void;
}

/** One go of playing: from a frame, at a rate, within bounds. */
class Run {
  private readonly stride: number;
  private readonly frameRate: number;
  private readonly asked = performance.now();
  private anchor = -1;
  private next: number | null;
  private nextDue = 0;
  private nextWrapped = false;
  private readonly queue: Shown[] = [];
  private pending = 0;
  private fed: Promise<unknown> = Promise.resolve();
  private taken: Promise<void> = Promise.resolve();
  private stopped = false;
  private isStalled = false;
  private soundBase = 0;
  private soundFrom: number;
  private request = 0;

  constructor(
    private readonly index: FrameIndex,
    private readonly source: FrameSource,
    private readonly decoder: FrameDecoder,
    private readonly options: RunOptions,
  ) {
    const speed = index.framesPerSecond * Math.abs(options.rate);
    this.stride = Math.max(1, Math.ceil(speed / DISPLAY_RATE - 0.05)) * Math.sign(options.rate);
    this.frameRate = speed / Math.abs(this.stride);
    this.next = options.from;
    this.soundFrom = index.time(options.from);
    this.fill();
    this.request = requestAnimationFrame(this.tick);
  }

  stop(): void {
    this.stopped = true;
    cancelAnimationFrame(this.request);
    for (const item of this.queue) item.picture.close();
    this.queue.length = 0;
  }

  /** Moves `next` on: within the bounds by the stride, around the end when looping, else to the last frame and then no more. */
  private advance(): void {
    const { first, end, loop, rate } = this.options;
    const frame = this.next!;
    let following: number | null = frame + this.stride;
    this.nextWrapped = false;
    let lasts = Math.abs(this.index.time(following) - this.index.time(frame));
    if (following < first || following >= end) {
      const edge = this.stride > 0 ? end - 1 : first;
      if (loop) {
        following = this.stride > 0 ? first : end - 1;
        this.nextWrapped = true;
        lasts = this.stride > 0 ? this.index.time(end) - this.index.time(frame) : this.index.time(frame + 1) - this.index.time(first);
      } else {
        following = frame === edge ? null : edge;
        lasts = Math.abs(this.index.time(edge) - this.index.time(frame));
      }
    }
    this.nextDue += lasts / Math.abs(rate);
    this.next = following;
  }

  private fill(): void {
    const window = Math.abs(this.stride) <= 2 ? 24 : 1;
    while (!this.stopped && this.next !== null && this.queue.length + this.pending < AHEAD) {
      const frame = this.next;
      const due = this.nextDue;
      const wrapped = this.nextWrapped;
      this.advance();
      this.pending += 1;
      const bytes = this.source.get(frame, Priority.Window, window, this.stride);
      bytes.catch(() => {});
      // Chunks are fed and pictures taken in the order of the list, however their bytes come.
      const fed = this.fed.then(async () => {
        const data = await bytes;
        return this.stopped ? null : { picture: this.decoder.decode(data) };
      });
      this.fed = fed.catch(() => null);
      this.taken = this.taken
        .then(async () => {
          const picture = await (await fed)?.picture;
          this.pending -= 1;
          if (!picture) return;
          if (this.stopped) picture.close();
          else this.queue.push({ frame, due, wrapped, picture });
        })
        .catch((error) => {
          if (!this.stopped) this.options.failed(error);
        });
    }
    if (this.next !== null && window > 1) {
      if (this.stride > 0) this.source.prefetch(this.next, Math.min(this.options.end, this.next + 48));
      else this.source.prefetch(Math.max(this.options.first, this.next - 48), this.next);
    }
  }

  private readonly tick = (): void => {
    if (this.stopped) return;
    this.request = requestAnimationFrame(this.tick);
    const now = performance.now();
    if (this.anchor < 0) {
      if (!this.queue.length) return;
      const { sound, rate } = this.options;
      this.anchor = now;
      this.options.started(now - this.asked);
      sound?.start(this.index.time(this.queue[0]!.frame), rate);
    }
    const { sound } = this.options;
    if (sound?.isStarting && this.soundBase === 0) this.anchor = now;
    this.follow(now);
    const clock = (now - this.anchor) / 1000;
    let due = 0;
    while (due < this.queue.length && this.queue[due]!.due <= clock + 0.004) due += 1;
    if (due === 0) {
      if (!this.queue.length && this.pending && clock - (this.tailDue() ?? clock) > 0.12) this.stall();
      else if (!this.queue.length && !this.pending && this.next === null) this.end(clock);
      this.fill();
      return;
    }
    if (this.isStalled) {
      this.isStalled = false;
      this.options.stalled(false);
      this.slip(now);
    }
    const behind = (clock - this.queue[0]!.due) * this.frameRate;
    if (this.frameRate <= 45) {
      if (behind > 12) this.slip(now);
    } else if (behind > 3) {
      for (const item of this.queue.splice(0, due - 1)) item.picture.close();
      if (due > 1) this.options.dropped(due - 1);
    }
    const item = this.queue.shift()!;
    this.options.late(Math.max(0, clock - item.due) * 1000);
    if (item.wrapped && sound) {
      this.soundBase = item.due;
      this.soundFrom = this.index.time(item.frame);
      sound.start(this.soundFrom, this.options.rate);
    }
    this.options.show(item.picture, item.frame);
    item.picture.close();
    this.fill();
  };

  /** Lets the clock, and the sound with it, wait for the picture: no frame is left out. */
  private slip(now: number): void {
    const head = this.queue[0]!;
    this.anchor = now - head.due * 1000;
    this.soundBase = head.due;
    this.soundFrom = this.index.time(head.frame);
    this.options.slipped();
    this.options.sound?.start(this.soundFrom, this.options.rate);
  }

  /** Keeps to the sound's clock, gently where it is near. */
  private follow(now: number): void {
    const at = this.options.sound?.position;
    if (at === null || at === undefined || this.isStalled) return;
    const heard = this.soundBase + (at - this.soundFrom) / this.options.rate;
    const error = heard - (now - this.anchor) / 1000;
    this.anchor -= (Math.abs(error) > 0.25 ? error : error * 0.1) * 1000;
  }

  private tailDue(): number | null {
    return this.next === null ? null : this.nextDue - this.pending / this.frameRate;
  }

  private stall(): void {
    if (this.isStalled) return;
    this.isStalled = true;
    this.options.sound?.stop();
    this.options.stalled(true);
  }

  private end(clock: number): void {
    if (clock >= this.nextDue) {
      this.stop();
      this.options.ended();
    }
  }
}

function close(picture: VideoFrame | HTMLImageElement | null): void {
  if (picture && "close" in picture) picture.close();
}

async function loadedImage(url: string): Promise<HTMLImageElement> {
  const image = new Image();
  image.src = url;
  await image.decode();
  return image;
}

async function retried<T>(get: () => Promise<T>): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await get();
    } catch (error) {
      if (attempt >= 5) throw error;
      await new Promise((done) => setTimeout(done, Math.min(3000, 200 * 2 ** attempt)));
    }
  }
}
