// Decodes single all-intra frames with a warm VideoDecoder. Every chunk gets a ticket as its timestamp, so that an output is
// matched with what asked for it and never with what comes next. A decoder is disposable: when it fails or the browser takes it
// away, another is opened and what waited is decoded once more.

const PATIENCE_MS = 90;

interface Ticket {
  bytes: Uint8Array;
  tries: number;
  timer: ReturnType<typeof setTimeout> | undefined;
  resolve: (frame: VideoFrame) => void;
  reject: (reason: unknown) => void;
}

export class FrameDecoder {
  decoded = 0;
  reopened = 0;

  private decoder: VideoDecoder | null = null;
  private readonly tickets = new Map<number, Ticket>();
  private next = 1;
  private holds = 0;

  constructor(private readonly config: VideoDecoderConfig) {}

  static async supports(config: VideoDecoderConfig): Promise<boolean> {
    if (typeof VideoDecoder === "undefined" || typeof EncodedVideoChunk === "undefined") return false;
    try {
      return (await VideoDecoder.isConfigSupported(config)).supported === true;
    } catch {
      return false;
    }
  }

  /** The picture of one frame. Whoever gets it closes it. */
  decode(bytes: Uint8Array): Promise<VideoFrame> {
    return new Promise((resolve, reject) => {
      const number = this.next++;
      const ticket: Ticket = { bytes, tries: 0, timer: undefined, resolve, reject };
      this.tickets.set(number, ticket);
      this.feed(number, ticket);
    });
  }

  close(): void {
    const decoder = this.decoder;
    this.decoder = null;
    if (decoder && decoder.state !== "closed") decoder.close();
    for (const ticket of this.tickets.values()) {
      clearTimeout(ticket.timer);
      ticket.reject(new DOMException("closed", "AbortError"));
    }
    this.tickets.clear();
  }

  private feed(number: number, ticket: Ticket): void {
    try {
      const decoder = this.opened();
      ticket.tries += 1;
      decoder.decode(new EncodedVideoChunk({ type: "key", timestamp: number, data: ticket.bytes }));
      // Some decoders hold a picture back until more comes; every chunk is a key, so a flush is always allowed.
      if (this.holds >= 2) void decoder.flush().catch(() => {});
      else ticket.timer = setTimeout(() => this.urge(number), PATIENCE_MS);
    } catch (error) {
      this.failed(error);
    }
  }

  private urge(number: number): void {
    const decoder = this.decoder;
    if (!this.tickets.has(number) || !decoder || decoder.state !== "configured") return;
    if (decoder.decodeQueueSize === 0) this.holds += 1;
    void decoder.flush().catch(() => {});
  }

  private opened(): VideoDecoder {
    if (this.decoder && this.decoder.state === "configured") return this.decoder;
    const decoder: VideoDecoder = new VideoDecoder({
      output: (frame) => this.take(frame),
      error: (error) => {
        if (this.decoder === decoder) this.failed(error);
      },
    });
    decoder.configure(this.config);
    this.decoder = decoder;
    return decoder;
  }

  private take(frame: VideoFrame): void {
    const ticket = this.tickets.get(frame.timestamp);
    this.tickets.delete(frame.timestamp);
    if (!ticket) {
      frame.close();
      return;
    }
    clearTimeout(ticket.timer);
    this.decoded += 1;
    ticket.resolve(frame);
  }

  private failed(reason: unknown): void {
    const broken = this.decoder;
    this.decoder = null;
    if (broken && broken.state !== "closed") broken.close();
    this.reopened += 1;
    for (const [number, ticket] of [...this.tickets]) {
      clearTimeout(ticket.timer);
      if (ticket.tries < 2) this.feed(number, ticket);
      else {
        this.tickets.delete(number);
        ticket.reject(reason);
      }
    }
  }
}
