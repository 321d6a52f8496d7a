// A video as a whole: what it is, how far it has come, its clips as a grid, its history, and files for other programs.

import { useEffect } from "preact/hooks";
import type { Clip, ClipState, VideoSummary } from "../api";
import { about, past } from "../decisions";
import { Badge, Bar, Certainty, Empty, Loading, NoVideo, Tile, Trouble } from "../parts/bits";
import { board, boardProblem, clips, loadHistory, media, openVideo, overview, route, videoEdits } from "../store";
import { ago, lasts, length, many, perSecond, words } from "../words";

const SHOWN = 100;
const FORMATS: [string, string][] = [
  ["otio", "OpenTimelineIO"],
  ["edl", "CMX 3600 EDL"],
  ["fcpxml", "Final Cut Pro XML"],
  ["csv", "CSV"],
];

function counted(found: Clip[]): Map<ClipState, number> {
  const counts = new Map<ClipState, number>();
  for (const { state } of found) counts.set(state, (counts.get(state) ?? 0) + 1);
  return counts;
}

export function VideoPage() {
  const id = route.value.id;
  useEffect(() => {
    if (id) void openVideo(id).then(loadHistory, () => {});
  }, [id]);
  if (!id) return <NoVideo />;
  if (boardProblem.value && !board.value) return <Trouble error={boardProblem.value} again={() => id && void openVideo(id)} />;
  if (!board.value || board.value.video.id !== id) return <Loading what="the video" />;
  const { video } = board.value;
  const rate = perSecond(video.rate);
  const shown = clips.value.slice(0, SHOWN);
  const source = named(video.source);
  return (
    <div class="page">
      <div class="page-head">
        <h1>{video.title || "Untitled"}</h1>
        <Badge state={video.state} />
        {clips.value.length ? (
          <a class="button primary" href={`#/review/${video.id}`}>
            Review
          </a>
        ) : null}
        {clips.value.some((clip) => clip.deliverables.length) ? (
          <a class="button" href={`#/deliverables/${video.duplicate_of ?? video.id}`}>
            Deliverables
          </a>
        ) : null}
      </div>
      {video.error ? (
        <p class="bad" role="alert">
          {video.error.message} <code>{video.error.code}</code> <a href="#/ops/failures">Operations can try it again.</a>
        </p>
      ) : null}
      {video.duplicate_of ? (
        <p>
          The same content <a href={`#/video/${video.duplicate_of}`}>came before</a>: the clips and what was asked for then hold. Clips can be approved to be delivered otherwise.
        </p>
      ) : null}
      {video.entries.length ? (
        <p class="row">
          What it lists:
          {video.entries.slice(0, SHOWN).map((entry, number) => (
            <a key={entry} href={`#/video/${entry}`}>
              {number + 1}
            </a>
          ))}
          {video.entries.length > SHOWN ? <span class="faint">of {video.entries.length}</span> : null}
        </p>
      ) : null}
      {video.progress.map((told) => (
        <Bar key={told.work_id} label={`${told.stage} ${told.phase || told.kind}`} value={told.fraction} />
      ))}
      <dl class="facts-list">
        <Fact name="Length" value={video.duration ? `${length(video.duration)}, ${many(video.frames ?? 0, "frame")} at ${rate.toFixed(rate % 1 ? 3 : 0)} a second` : "not measured yet"} />
        <Fact name="Source" value={source} />
        <Fact name="Master" value={video.mastered ? "made" : "not made yet"} />
        <Fact name="Came" value={ago(video.created_at)} />
        {overview.value?.scenes.length ? <Fact name="Scenes" value={many(overview.value.scenes.length, "scene")} /> : null}
        {overview.value?.decisions_per_hour ? <Fact name="Pace" value={`${Math.round(overview.value.decisions_per_hour)} decisions an hour`} /> : null}
        {video.tags.length ? <Fact name="Tags" value={video.tags.join(", ")} /> : null}
        <Fact
          name="Clips"
          value={
            [...counted(clips.value)].map(([state, count]) => `${count} ${words(state)}`).join(", ") || "none yet"
          }
        />
      </dl>
      {clips.value.length ? (
        <p class="row">
          <span>Take the clips to another program:</span>
          {FORMATS.map(([format, title]) => (
            <a key={format} class="button" download href={`/api/videos/${video.duplicate_of ?? video.id}/interchange/${format}`}>
              {title}
            </a>
          ))}
        </p>
      ) : null}
      <h2>Clips</h2>
      {shown.length ? (
        <ul class="grid">
          {shown.map((clip) => (
            <li key={clip.id}>
              <a class="card" data-row href={`#/review/${video.id}/${clip.id}`}>
                <Tile media={media.value} clip={clip} />
                <span>
                  {clip.start_frame}–{clip.end_frame - 1}
                </span>
                <span class="faint">
                  {lasts(clip)} · <Certainty clip={clip} />
                </span>
                <Badge state={clip.state} />
              </a>
            </li>
          ))}
        </ul>
      ) : (
        <Empty title={video.error ? "There are no clips." : "No clips yet."}>{video.error ? null : <p>They appear by themselves as soon as scenes are found.</p>}</Empty>
      )}
      {clips.value.length > SHOWN ? <p class="faint">The first {SHOWN} of {clips.value.length}; the review page shows them all.</p> : null}
      <h2>History</h2>
      {videoEdits.value.length ? (
        <ol class="history">
          {videoEdits.value.slice(0, 20).map((edit) => (
            <li key={edit.id}>
              <span>
                <strong>{past(edit.kind)}</strong> {about(edit)}
              </span>
              <span class="faint">
                {edit.by}, {ago(edit.made_at)}
                {edit.undone_by ? ", taken back" : ""}
              </span>
            </li>
          ))}
        </ol>
      ) : (
        <p class="faint">Nobody has decided anything here yet.</p>
      )}
    </div>
  );
}

function named(source: VideoSummary["source"]): string {
  if (!source) return "unknown";
  if (source.kind === "url") return source.url;
  return source.name || (source.kind === "object" ? source.key : "an upload");
}

function Fact({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}
