// A strip of time: pictures, cuts, the curve of scores, the waveform, what is loaded, clips, marks and the playhead. It is drawn
// on one canvas, the playhead on another, so that playing redraws a line and nothing else.

import { useSignalEffect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { frame, loaded, mode, player } from "../screen";
import { clips, current, marks, media, overview, selected, theme } from "../store";
import { drawTile, picture, placeOf, tileOf } from "../sprites";
import { tone } from "../words";

interface Shape {
  from: number;
  to: number;
  label: string;
  kind: "clip" | "video";
  onPick: (frame: number, done: boolean) => void;
}

export function Timeline({ from, to, label, kind, onPick }: Shape) {
  const ground = useRef<HTMLCanvasElement>(null);
  const head = useRef<HTMLDivElement>(null);
  const box = useRef<HTMLDivElement>(null);
  const queued = useRef(0);
  const span = Math.max(1, to - from);

  const redraw = () => {
    if (queued.current) return;
    queued.current = requestAnimationFrame(() => {
      queued.current = 0;
      if (ground.current) draw(ground.current, { from, to, kind }, redraw);
    });
  };

  useSignalEffect(() => {
    void [media.value, overview.value, clips.value, current.value, marks.value, selected.value, theme.value, mode.value];
    if (kind === "clip") void loaded.value;
    redraw();
  });
  useEffect(() => {
    redraw();
    const watch = new ResizeObserver(redraw);
    watch.observe(box.current!);
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", redraw);
    return () => {
      watch.disconnect();
      scheme.removeEventListener("change", redraw);
      cancelAnimationFrame(queued.current);
      queued.current = 0;
    };
  }, [from, to, kind]);
  useSignalEffect(() => {
    const at = frame.value;
    const line = head.current;
    if (!line) return;
    line.hidden = at < from || at >= to;
    line.style.left = `${((at - from + 0.5) / span) * 100}%`;
    box.current?.setAttribute("aria-valuenow", String(Math.max(from, Math.min(to - 1, at))));
  });
  useEffect(() => {
    const line = head.current!;
    const at = frame.peek();
    line.hidden = at < from || at >= to;
    line.style.left = `${((at - from + 0.5) / span) * 100}%`;
  }, [from, to]);

  const pick = (event: PointerEvent, done: boolean) => {
    const area = box.current!.getBoundingClientRect();
    const share = Math.max(0, Math.min(0.999999, (event.clientX - area.left) / area.width));
    onPick(from + Math.floor(share * span), done);
  };
  return (
    <div
      ref={box}
      class={`timeline ${kind}`}
      role="slider"
      tabIndex={0}
      aria-label={label}
      aria-valuemin={from}
      aria-valuemax={to - 1}
      aria-valuenow={from}
      onPointerDown={(event) => {
        event.currentTarget.setPointerCapture(event.pointerId);
        pick(event, false);
      }}
      onPointerMove={(event) => event.buttons & 1 && pick(event, false)}
      onPointerUp={(event) => pick(event, true)}
    >
      <canvas ref={ground} />
      <div ref={head} class="playhead" hidden />
    </div>
  );
}

function draw(canvas: HTMLCanvasElement, { from, to, kind }: { from: number; to: number; kind: string }, again: () => void): void {
  const dense = devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * dense);
  const height = Math.round(canvas.clientHeight * dense);
  if (!width || !height) return;
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const pen = canvas.getContext("2d")!;
  const style = getComputedStyle(canvas);
  const ink = (name: string) => style.getPropertyValue(`--${name}`).trim();
  const span = Math.max(1, to - from);
  const x = (n: number) => ((n - from) / span) * width;
  pen.clearRect(0, 0, width, height);
  const found = media.value;
  const over = overview.value;
  const strip = kind === "clip" ? height * 0.56 : height * 0.5;

  // Pictures
  const map = found?.sprite_map;
  if (map?.tiles && found) {
    const tileWidth = Math.max(24 * dense, (strip * map.tile_width) / map.tile_height);
    for (let left = 0; left < width; left += tileWidth) {
      const at = from + ((left + tileWidth / 2) / width) * span;
      // A picture out of the clip that the place belongs to, lest a cut seem to lie elsewhere.
      const under = clips.value.find((clip) => at >= clip.start_frame && at < clip.end_frame);
      const tile = (under && tileOf(map, at, under.start_frame, under.end_frame)) ?? tileOf(map, at)!;
      const place = placeOf(found, map, tile);
      const sheet = picture(place.url);
      if (sheet.complete && sheet.naturalWidth) drawTile(pen, sheet, map, place, left, 0, tileWidth, strip);
      else sheet.addEventListener("load", again, { once: true });
    }
  }

  // Sound
  const low = height - strip;
  if (over?.peaks && over.peaks.values.length && player?.index) {
    const { values, every_seconds: every } = over.peaks;
    const middle = strip + low / 2;
    // Samples are bytes; 127 is full scale.
    const scale = ((low / 2) * 0.94) / 127;
    pen.fillStyle = ink("wave");
    for (let column = 0; column < width; column += dense) {
      const start = player.index.time(from + Math.floor((column / width) * span)) / every;
      const end = Math.max(start + 1, player.index.time(from + Math.ceil(((column + dense) / width) * span)) / every);
      let least = 0;
      let most = 0;
      for (let n = Math.floor(start); n < end && n < values.length; n++) {
        least = Math.min(least, values[n]![0]);
        most = Math.max(most, values[n]![1]);
      }
      pen.fillRect(column, middle - most * scale, dense, Math.max(dense, (most - least) * scale));
    }
  }

  // The curve of scores: how much the picture changes from frame to frame
  if (over?.scores?.values.length) {
    const { values, every } = over.scores;
    const top = Math.max(1e-6, ...values);
    pen.strokeStyle = ink("score");
    pen.lineWidth = 1.25 * dense;
    pen.beginPath();
    let begun = false;
    for (let n = Math.max(0, Math.floor(from / every) - 1); n < values.length && n * every <= to; n++) {
      const y = height - 2 * dense - (values[n]! / top) * (low - 4 * dense);
      if (begun) pen.lineTo(x(n * every + every / 2), y);
      else pen.moveTo(x(n * every + every / 2), y);
      begun = true;
    }
    pen.stroke();
  }

  // Clips
  const shade = ink("shade");
  for (const clip of clips.value) {
    if (clip.end_frame <= from || clip.start_frame >= to) continue;
    const left = Math.max(0, x(clip.start_frame));
    const right = Math.min(width, x(clip.end_frame));
    const isCurrent = clip.id === current.value?.id;
    if (kind === "video") {
      pen.fillStyle = ink(tone(clip.state));
      pen.fillRect(left + 0.5 * dense, height - 6 * dense, Math.max(dense, right - left - dense), 6 * dense);
      if (selected.value.has(clip.id)) {
        pen.fillStyle = ink("accent");
        pen.fillRect(left, height - 9 * dense, right - left, 3 * dense);
      }
      if (isCurrent) {
        pen.strokeStyle = ink("accent");
        pen.lineWidth = 2 * dense;
        pen.strokeRect(left + dense, dense, Math.max(2 * dense, right - left - 2 * dense), height - 2 * dense);
      }
    } else if (!isCurrent) {
      pen.fillStyle = shade;
      pen.fillRect(left, 0, right - left, height);
    }
  }

  // Cuts
  pen.fillStyle = ink("cut");
  for (const cut of over?.cuts ?? []) {
    if (cut.end_frame < from || cut.start_frame > to) continue;
    pen.globalAlpha = 0.45 + 0.55 * cut.confidence;
    if (cut.end_frame - cut.start_frame > 1) {
      pen.globalAlpha *= 0.45;
      pen.fillRect(x(cut.start_frame), 0, Math.max(dense, x(cut.end_frame) - x(cut.start_frame)), strip);
    } else pen.fillRect(x(cut.start_frame) - dense * 0.75, 0, dense * 1.5, kind === "clip" ? height : strip);
    pen.globalAlpha = 1;
  }

  if (kind !== "clip") return;
  // What is loaded
  if (player?.source) {
    pen.fillStyle = ink("loaded");
    for (const [start, end] of player.source.loaded(from, to)) pen.fillRect(x(start), strip - 3 * dense, Math.max(dense, x(end) - x(start)), 3 * dense);
  }
  // Marks
  const { in: first, out: last } = marks.value;
  if (first !== null || last !== null) {
    const clip = current.value;
    pen.fillStyle = shade;
    if (first !== null && clip) pen.fillRect(x(clip.start_frame), 0, x(first) - x(clip.start_frame), height);
    if (last !== null && clip) pen.fillRect(x(last + 1), 0, x(clip.end_frame) - x(last + 1), height);
    pen.fillStyle = ink("accent");
    if (first !== null) pen.fillRect(x(first), 0, 3 * dense, height);
    if (last !== null) pen.fillRect(x(last + 1) - 3 * dense, 0, 3 * dense, height);
  }
}
