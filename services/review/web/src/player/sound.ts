// The review audio, and whether its clock can be trusted. Its first sample belongs to frame 0. Without a device, without leave to
// play, or before it has really begun to advance, `position` says nothing and the player keeps time by itself.

export class Sound {
  private readonly element = new Audio();
  private startedAt = 0;
  private from = 0;
  private on = false;

  constructor(url: string) {
    this.element.preload = "auto";
    this.element.src = url;
  }

  /** Addresses end; the element goes on with what it has and takes the new one at its next start. */
  renew(url: string): void {
    if (this.element.src !== new URL(url, location.href).href && !this.on) this.element.src = url;
  }

  set muted(is: boolean) {
    this.element.muted = is;
  }

  start(seconds: number, rate: number): void {
    this.from = seconds;
    this.startedAt = performance.now();
    this.on = true;
    this.element.playbackRate = rate;
    this.element.currentTime = seconds;
    void this.element.play().catch(() => {
      this.on = false;
    });
  }

  stop(): void {
    this.on = false;
    this.element.pause();
  }

  /** Whether to wait a little for the first sample. */
  get isStarting(): boolean {
    return this.on && this.position === null && performance.now() - this.startedAt < 200;
  }

  /** Seconds that have been heard up to, while that advances; else null. */
  get position(): number | null {
    if (!this.on || this.element.paused || this.element.seeking || this.element.readyState < 3) return null;
    const at = this.element.currentTime;
    return at > this.from + 0.001 ? at : null;
  }

  close(): void {
    this.stop();
    this.element.removeAttribute("src");
    this.element.load();
  }
}
