// What waits: videos with their clips, and the clips whose edges are least certain, of all videos.

import { useSignal } from "@preact/signals";
import { middle, query, stillUrl, type ClipPage, type VideoPage, type VideoSummary } from "../api";
import { Badge, Bar, Certainty, Empty, Loading, Trouble } from "../parts/bits";
import { useLoad } from "../parts/load";
import { route } from "../store";
import { ago, isLive, lasts, length, many, perSecond, timecode, words } from "../words";

const LIMIT = 50;

export function Queue() {
  const tab = route.value.search.get("show") === "clips" ? "clips" : "videos";
  return (
    <div class="page">
      <div class="page-head">
        <h1>Queue</h1>
        <nav class="tabs" aria-label="What the queue shows">
          <a href="#/queue" aria-current={tab === "videos" ? "page" : undefined}>
            Videos
          </a>
          <a href="#/queue?show=clips" aria-current={tab === "clips" ? "page" : undefined}>
            Least certain clips
          </a>
        </nav>
      </div>
      {tab === "videos" ? <Videos /> : <Clips />}
    </div>
  );
}

/** A list's pages one at a time: the address of the one shown, and how to turn. */
export function usePages(): { cursor: string | null; turn: (next: string | null) => void; back: (() => void) | null } {
  const trail = useSignal<(string | null)[]>([null]);
  return {
    cursor: trail.value.at(-1)!,
    turn: (next) => (trail.value = [...trail.value, next]),
    back: trail.value.length > 1 ? () => (trail.value = trail.value.slice(0, -1)) : null,
  };
}

export function Pages({ pages, next }: { pages: ReturnType<typeof usePages>; next: string | null | undefined }) {
  if (!pages.back && !next) return null;
  return (
    <nav class="row" aria-label="Pages of the list">
      <button type="button" disabled={!pages.back} onClick={() => pages.back?.()}>
        Back
      </button>
      <button type="button" disabled={!next} onClick={() => pages.turn(next!)}>
        More
      </button>
    </nav>
  );
}

function Videos() {
  const pages = usePages();
  const state = useSignal("");
  const { data, error, again } = useLoad<VideoPage>(`/api/videos${query({ limit: LIMIT, cursor: pages.cursor, state: state.value })}`);
  if (error && !data) return <Trouble error={error} again={again} />;
  if (!data) return <Loading what="videos" />;
  return (
    <>
      <label class="select">
        State
        <select value={state.value} onChange={(event) => (state.value = event.currentTarget.value)}>
          <option value="">any</option>
          {["ready", "new", "downloading", "preprocessing", "detecting_scenes", "download_failed", "preprocess_failed", "detect_scenes_failed", "rejected"].map((name) => (
            <option key={name} value={name}>
              {words(name)}
            </option>
          ))}
        </select>
      </label>
      {data.videos.length ? (
        <ul class="videos">
          {data.videos.map((video) => (
            <VideoRow key={video.id} video={video} />
          ))}
        </ul>
      ) : (
        <Empty title={state.value ? "No video is in this state." : "Nothing here yet."}>
          <p>
            <a href="#/submit">Submit a video</a>, or run <code>./heaters submit VIDEO</code>; it appears by itself.
          </p>
        </Empty>
      )}
      <Pages pages={pages} next={data.next} />
    </>
  );
}

function VideoRow({ video }: { video: VideoSummary }) {
  const counts = Object.entries(video.clip_states).filter(([, count]) => count);
  const open = video.clip_states.pending_review ?? 0;
  const total = counts.reduce((sum, [name, count]) => (isLive(name) ? sum + count : sum), 0);
  return (
    <li>
      <a class="video-row" data-row href={total ? `#/review/${video.id}` : `#/video/${video.id}`}>
        {video.frames ? <img class="tile" loading="lazy" decoding="async" alt="" src={stillUrl(video.duplicate_of ?? video.id, Math.floor(video.frames / 3), 90)} /> : <span class="tile" />}
        <span class="grow">
          <strong class="title">{video.title || "Untitled"}</strong>
          <span class="faint">
            {[length(video.duration), ago(video.created_at), video.duplicate_of ? "the same content as an earlier video" : ""].filter(Boolean).join(" · ")}
          </span>
          {video.error ? <span class="bad">{video.error.message}</span> : null}
          {video.progress.slice(0, 3).map((told) => (
            <Bar key={told.work_id} label={`${told.stage} ${told.phase || told.kind}`} value={told.fraction} />
          ))}
        </span>
        <span class="counts">
          {open ? <strong>{open} to decide</strong> : null}
          <span class="faint">{total ? many(total, "clip") : ""}</span>
        </span>
        <Badge state={video.state === "ready" && total && !open ? "decided" : video.state} />
      </a>
      <a class="aside" href={`#/video/${video.id}`}>
        Overview<span class="hidden-label"> of {video.title || "Untitled"}</span>
      </a>
    </li>
  );
}

function Clips() {
  const pages = usePages();
  const { data, error, again } = useLoad<ClipPage>(`/api/clips${query({ state: "pending_review", order: "uncertain", limit: LIMIT, cursor: pages.cursor })}`);
  if (error && !data) return <Trouble error={error} again={again} />;
  if (!data) return <Loading what="clips" />;
  if (!data.clips.length) return <Empty title="Every clip is decided." />;
  return (
    <>
      <ul class="grid">
        {data.clips.map((clip) => (
          <li key={clip.id}>
            <a class="card" data-row href={`#/review/${clip.video_id}/${clip.id}`}>
              <img class="tile" loading="lazy" decoding="async" alt="" src={stillUrl(clip.video_id, middle(clip), 120)} />
              <strong class="title">{clip.title || "Untitled"}</strong>
              <span class="faint">
                {timecode(clip.start_frame, perSecond(clip.rate))} · {lasts(clip)}
              </span>
              <span class="faint">
                <Certainty clip={clip} /> sure
              </span>
            </a>
          </li>
        ))}
      </ul>
      <Pages pages={pages} next={data.next} />
    </>
  );
}
