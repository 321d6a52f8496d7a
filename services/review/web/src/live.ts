// Live events. The stream says what changed; the page asks for the present state of just that. After a loss the browser comes
// back with the last event's id, so nothing is missed; the first greeting therefore reloads nothing.

import { effect } from "@preact/signals";
import { board, link, lookAgain, needsToken, news, openVideo, route } from "./store";

const GATHER_MS = 15;

export function listen(): void {
  const clips = new Map<string, Set<string>>();
  const videos = new Set<string>();
  let timer: ReturnType<typeof setTimeout> | null = null;
  let busy = false;

  const flush = async () => {
    timer = null;
    if (busy) {
      timer = setTimeout(flush, 50);
      return;
    }
    busy = true;
    news.value += 1;
    const open = board.value?.video.id;
    const owner = board.value?.video.duplicate_of;
    const whole = [open, owner].some((id) => id && videos.has(id));
    const named = [open, owner].flatMap((id) => (id ? [...(clips.get(id) ?? [])] : []));
    clips.clear();
    videos.clear();
    try {
      if (whole && open) await openVideo(open);
      else if (named.length && open) await lookAgain(open, named);
    } catch {
      // The next event asks again.
    } finally {
      busy = false;
    }
  };
  const soon = (ms: number) => (timer ??= setTimeout(flush, ms));

  let source: EventSource | null = null;
  let tries = 0;
  const connect = () => {
    source?.close();
    source = new EventSource("/api/stream");
    source.addEventListener("hello", () => {
      const returned = link.value === "lost";
      link.value = "live";
      tries = 0;
      if (returned && board.value) {
        videos.add(board.value.video.id);
        soon(GATHER_MS);
      }
    });
    source.addEventListener("change", (event) => {
      const told = JSON.parse((event as MessageEvent<string>).data) as { video_id: string | null; clip_id: string | null };
      if (!told.video_id) return soon(200);
      if (told.clip_id) {
        const set = clips.get(told.video_id) ?? new Set();
        set.add(told.clip_id);
        clips.set(told.video_id, set);
      } else videos.add(told.video_id);
      return soon(GATHER_MS);
    });
    source.addEventListener("progress", (event) => {
      const told = JSON.parse((event as MessageEvent<string>).data) as { video_id: string };
      const now = board.value;
      if (now && told.video_id === now.video.id && route.value.page !== "review") videos.add(told.video_id);
      soon(500);
    });
    source.onerror = () => {
      link.value = "lost";
      if (source?.readyState === EventSource.CLOSED) setTimeout(connect, Math.min(5000, 300 * 2 ** tries++));
    };
  };
  effect(() => {
    if (!needsToken.value && !source) connect();
  });
  addEventListener("online", () => link.value === "lost" && connect());
  addEventListener("pagehide", () => source?.close());
}
