// The frame index: where every frame of the proxy lies and when it is shown. The format is described in
// services/media/frame_index.py; this reads what that writes and refuses anything else.

const HEADER = 96;
const ADDRESSED = 1;
const OFFSETS = 2;
const STEPS = 4;
const FULL_PTS = 8;

export class FrameIndex {
  readonly frames: number;
  readonly bytes: number;

  private constructor(
    readonly codec: string,
    readonly description: Uint8Array<ArrayBuffer>,
    readonly width: number,
    readonly height: number,
    readonly rate: readonly [number, number],
    private readonly sizes: Uint32Array,
    private readonly starts: Float64Array,
    /** Seconds from the start of frame 0 to the start of each frame; one more entry gives the end of the video. */
    readonly times: Float64Array,
  ) {
    this.frames = sizes.length;
    this.bytes = sizes.length ? starts[sizes.length - 1]! + sizes[sizes.length - 1]! : 0;
  }

  /** The first byte of a frame and the one after its last. */
  place(frame: number): [number, number] {
    const start = this.starts[frame]!;
    return [start, start + this.sizes[frame]!];
  }

  size(frame: number): number {
    return this.sizes[frame]!;
  }

  /** Whether the bytes of a frame follow directly on those of the frame before. */
  follows(frame: number): boolean {
    return frame > 0 && this.starts[frame - 1]! + this.sizes[frame - 1]! === this.starts[frame]!;
  }

  /** Seconds from the start of frame 0 to the start of ``frame``. */
  time(frame: number): number {
    return this.times[Math.max(0, Math.min(this.frames, frame))]!;
  }

  /** The frame on screen at a moment. */
  frameAt(seconds: number): number {
    let low = 0;
    let high = this.frames - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.times[middle]! <= seconds) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  get framesPerSecond(): number {
    return this.rate[0] / this.rate[1];
  }

  static parse(buffer: ArrayBuffer): FrameIndex {
    if (buffer.byteLength < HEADER + 4) throw new Error("The frame index is cut short; have the video preprocessed again.");
    const view = new DataView(buffer);
    const magic = String.fromCharCode(...new Uint8Array(buffer, 0, 4));
    const version = view.getUint16(4, true);
    if (magic !== "HFIX" || version !== 1) throw new Error(`This page reads frame index version 1, not ${magic} ${version}; reload the page.`);
    const flags = view.getUint16(6, true);
    if (!(flags & ADDRESSED)) throw new Error("The frame index names no bytes; have the video preprocessed again.");
    const frames = view.getUint32(8, true);
    const codecLength = view.getUint16(20, true);
    const extraLength = view.getUint32(24, true);
    const long = (at: number) => Number(view.getBigInt64(at, true));
    let at = HEADER;
    const codec = new TextDecoder().decode(new Uint8Array(buffer, at, codecLength));
    at += codecLength;
    const description = new Uint8Array(buffer.slice(at, at + extraLength));
    at = padded(at + extraLength);
    const sizes = new Uint32Array(buffer.slice(at, at + 4 * frames));
    at = padded(at + 4 * frames);
    const starts = new Float64Array(frames);
    if (flags & OFFSETS) {
      for (let n = 0; n < frames; n++) starts[n] = Number(view.getBigUint64(at + 8 * n, true));
      at += 8 * frames;
    } else {
      let sum = long(72);
      for (let n = 0; n < frames; n++) {
        starts[n] = sum;
        sum += sizes[n]!;
      }
    }
    const scale = long(48) / long(56);
    const times = new Float64Array(frames + 1);
    if (flags & STEPS) {
      let ticks = 0;
      for (let n = 1; n < frames; n++) {
        ticks += view.getUint32(at + 4 * (n - 1), true);
        times[n] = ticks * scale;
      }
    } else if (flags & FULL_PTS) {
      for (let n = 1; n < frames; n++) times[n] = (Number(view.getBigInt64(at + 8 * n, true)) - long(at)) * scale;
    } else {
      const step = long(88);
      for (let n = 1; n < frames; n++) times[n] = n * step * scale;
    }
    times[frames] = times[frames - 1]! + long(80) * scale;
    return new FrameIndex(codec, description, view.getUint32(12, true), view.getUint32(16, true), [long(32), long(40)], sizes, starts, times);
  }
}

const padded = (length: number) => Math.ceil(length / 8) * 8;
