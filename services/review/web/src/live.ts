// Live events. The stream says what changed; the page asks for the present state of just that. After a loss the browser comes
// back with the last event's id, so nothing is missed; the first greeting therefore reloads nothing. A tab that takes the stream
// over from another has no such id: its greeting says so, and every tab asks for the present state of what it shows.

import { effect } from "@preact/signals";
import { board, link, lookAgain, lookAtProgress, needsToken, news, openVideo, route } from "./store";

const GATHER_MS = 15;
const SHARED = "heaters-stream";

export function listen(): void {
  const clips = new Map<string, Set<string>>();
  const videos = new Set<string>();
  let hasProgress = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let due = Infinity;
  let busy = false;

  const flush = async () => {
    due = Infinity;
    if (busy) return soon(50);
    news.value += 1;
    const open = board.value?.video.id;
    const owner = board.value?.video.duplicate_of;
    const whole = [open, owner].some((id) => id && videos.has(id));
    const named = [open, owner].flatMap((id) => (id ? [...(clips.get(id) ?? [])] : []));
    const progressed = hasProgress;
    clips.clear();
    videos.clear();
    hasProgress = false;
    if (!open) return;
    busy = true;
    try {
      if (whole) await openVideo(open);
      else {
        if (named.length) await lookAgain(named).catch(() => openVideo(open));
        // Work that has ended tells it by its clip's event alone.
        if (progressed || board.value?.video.progress.length) await lookAtProgress().catch(() => {});
      }
    } finally {
      busy = false;
    }
  };
  // What may wait does not hold up what is to be seen at once.
  const soon = (ms: number) => {
    const at = Date.now() + ms;
    if (at >= due) return;
    clearTimeout(timer);
    due = at;
    timer = setTimeout(flush, ms);
  };

  const hear = ({ kind, data }: Word) => {
    if (kind === "lost") link.value = "lost";
    else if (kind === "hello") {
      const missed = link.value === "lost" || data === "after a gap";
      link.value = "live";
      if (missed) {
        if (board.value) videos.add(board.value.video.id);
        soon(GATHER_MS);
      }
    } else if (kind === "change") {
      const told = JSON.parse(data) as { video_id: string | null; clip_id: string | null };
      if (!told.video_id) return soon(200);
      if (told.clip_id) {
        const set = clips.get(told.video_id) ?? new Set();
        set.add(told.clip_id);
        clips.set(told.video_id, set);
      } else videos.add(told.video_id);
      return soon(GATHER_MS);
    } else if (kind === "progress") {
      const told = JSON.parse(data) as { video_id: string };
      const now = board.value;
      if (told.video_id === now?.video.id && route.value.page !== "review") hasProgress = true;
      soon(500);
    }
    return undefined;
  };
  let begun = false;
  effect(() => {
    if (needsToken.value || begun) return;
    begun = true;
    share(hear);
  });
}

interface Word {
  kind: "hello" | "change" | "progress" | "lost" | "who";
  data: string;
}

/** One stream for all tabs of a browser, which opens only six connections to a server: a tab holds the lock and tells the others. */
function share(hear: (word: Word) => unknown): void {
  // Addresses that are not secure have no locks; a tab there has a stream of its own.
  if (!navigator.locks) return stream(hear, false);
  const channel = new BroadcastChannel(SHARED);
  let leads = false;
  let heard = false;
  channel.onmessage = ({ data: word }: MessageEvent<Word>) => {
    if (word.kind !== "who") {
      heard = true;
      hear(word);
    } else if (leads && link.value !== "connecting") channel.postMessage({ kind: link.value === "live" ? "hello" : "lost", data: "" });
  };
  channel.postMessage({ kind: "who", data: "" });
  void navigator.locks.request(SHARED, () => {
    leads = true;
    stream((word) => {
      hear(word);
      channel.postMessage(word);
    }, heard);
    return new Promise(() => {});
  });
}

/** Tells what comes by a stream, which is opened anew for as long as it takes. */
function stream(tell: (word: Word) => void, isSequel: boolean): void {
  let source: EventSource | null = null;
  let tries = 0;
  let sequel = isSequel;
  const connect = () => {
    source?.close();
    source = new EventSource("/api/stream");
    source.addEventListener("hello", () => {
      tell({ kind: "hello", data: sequel ? "after a gap" : "" });
      sequel = false;
      tries = 0;
    });
    for (const kind of ["change", "progress"] as const) source.addEventListener(kind, (event) => tell({ kind, data: (event as MessageEvent<string>).data }));
    source.onerror = () => {
      tell({ kind: "lost", data: "" });
      if (source?.readyState === EventSource.CLOSED) setTimeout(connect, Math.min(5000, 300 * 2 ** tries++));
    };
  };
  connect();
  addEventListener("online", () => link.value === "lost" && connect());
  addEventListener("pagehide", () => source?.close());
}
