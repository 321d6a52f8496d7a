// How things are spelt for people: states, frames, times.

import type { ClipState } from "./api";

const NAMES: Record<string, string> = {
  pending_review: "undecided",
  review_approved: "approved",
  review_skipped: "skipped",
  review_archived: "archived",
  detecting_scenes: "detecting scenes",
  detect_scenes_failed: "scene detection failed",
  ready: "ready for review",
};

export const words = (state: string) => NAMES[state] ?? state.replaceAll("_", " ");

export type Tone = "todo" | "good" | "busy" | "bad" | "off";

export function tone(state: string): Tone {
  if (state.endsWith("_failed") || state === "rejected") return "bad";
  if (state === "pending_review" || state === "ready") return "todo";
  if (state === "review_skipped" || !isLive(state)) return "off";
  if (["exporting", "keyframing", "embedding", "downloading", "preprocessing", "detecting_scenes", "new"].includes(state)) return "busy";
  return "good";
}

/** Whether a clip in this state is there still: its frames belong to no other. */
export const isLive = (state: string): boolean => !["superseded", "cleaned", "review_archived"].includes(state);

/** States of clips that have delivered files. */
export const DELIVERED: ClipState[] = ["exported", "keyframing", "keyframed", "keyframe_failed", "embedding", "embedded", "embedding_failed"];

export function perSecond(rate: string | null): number {
  const [above, below] = (rate ?? "").split("/").map(Number);
  return above && below ? above / below : 0;
}

/** Timecode without drop frames: for people; nothing is computed with it. */
export function timecode(frame: number, rate: number): string {
  if (!rate) return `${frame}`;
  const nominal = Math.max(1, Math.round(rate));
  const two = (n: number) => String(n).padStart(2, "0");
  const seconds = Math.floor(frame / nominal);
  return `${two(Math.floor(seconds / 3600))}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}:${two(frame % nominal)}`;
}

/**
 * The frame that a person means, standing at a frame: its number (120), frames on or back (+12), a time (1:02.5), or a timecode as
 * above (00:01:02:12). None if it is none of these.
 */
export function frameMeant(text: string, at: number, rate: number, frameAt: (seconds: number) => number): number | null {
  const said = text.trim().replace(",", ".");
  if (/^[+-]\d+$/.test(said)) return at + Number(said);
  if (/^\d+$/.test(said)) return Number(said);
  if (!/^(\d+:){1,3}\d+(\.\d+)?$/.test(said)) return null;
  const parts = said.split(":").map(Number);
  const frames = parts.length === 4 ? parts.pop()! : null;
  const seconds = parts.reduce((sum, part) => sum * 60 + part, 0);
  return frames === null ? frameAt(seconds) : Number.isInteger(frames) ? seconds * Math.max(1, Math.round(rate)) + frames : null;
}

export function length(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 0.1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;
  const whole = Math.round(seconds);
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const [hours, minutes, rest] = parts as [number, number, number];
  const two = (n: number) => String(n).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** How long a clip lasts, for people. */
export function lasts(clip: { start_frame: number; end_frame: number; rate: string | null }): string {
  const rate = perSecond(clip.rate);
  return length(rate ? (clip.end_frame - clip.start_frame) / rate : null);
}

export function size(bytes: number): string {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let unit = 0;
  while (bytes >= 1000 && unit < units.length - 1) {
    bytes /= 1000;
    unit += 1;
  }
  return `${bytes.toFixed(unit && bytes < 100 ? 1 : 0)} ${units[unit]}`;
}

export function ago(moment: string): string {
  const seconds = (Date.now() - new Date(moment).getTime()) / 1000;
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return new Date(moment).toLocaleDateString();
}

export const many = (n: number, what: string) => `${n.toLocaleString("en")} ${what}${n === 1 ? "" : "s"}`;
