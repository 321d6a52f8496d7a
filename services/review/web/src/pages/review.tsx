// The review page: a clip on the screen, its strip of time, and the decisions.

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { decided } from "../decisions";
import { ClipList } from "../parts/cliplist";
import { Badge, Bar, Do, Empty, Loading, NoVideo, Trouble } from "../parts/bits";
import { Timeline } from "../parts/timeline";
import { frame, goTo, hasPicture, lookAt, mount, player, playerState, playing } from "../screen";
import { board, boardProblem, clips, current, marks, media, openClip, openVideo, route, session, undecided } from "../store";
import { many, perSecond, timecode } from "../words";

export function Review() {
  const id = route.value.id;
  useEffect(() => {
    if (id) void openVideo(id);
  }, [id]);
  // A clip that was replaced gives way to the one that has the frame on the screen; without a clip in the address, the first
  // undecided one is opened.
  useEffect(() => {
    const now = board.value;
    if (!now || now.video.id !== id || current.value || !clips.value.length) return;
    const gone = now.clips.get(route.value.clip ?? "");
    const at = gone && frame.value >= gone.start_frame && frame.value < gone.end_frame ? frame.value : gone?.start_frame;
    const heir = clips.value.find((clip) => at !== undefined && clip.start_frame <= at && at < clip.end_frame);
    openClip((heir ?? clips.value.find((clip) => clip.state === "pending_review") ?? clips.value[0]!).id);
  });

  if (!id) return <NoVideo />;
  if (boardProblem.value && !board.value) return <Trouble error={boardProblem.value} again={() => id && void openVideo(id)} />;
  if (!board.value || board.value.video.id !== id) return <Loading what="the video" />;
  const video = board.value.video;
  if (!clips.value.length) {
    return (
      <div class="page">
        <h1>{video.title || "Untitled"}</h1>
        <p>
          <Badge state={video.state} />
        </p>
        {video.progress.map((told) => (
          <Bar key={told.work_id} label={`${told.stage} ${told.phase || told.kind}`} value={told.fraction} />
        ))}
        <Empty title={video.error ? video.error.message : "There is nothing to review yet."}>
          {video.error ? (
            <p>
              Code {video.error.code}. Operations can <a href="#/ops/failures">try it again</a>.
            </p>
          ) : (
            <p>Clips appear here by themselves as soon as scenes are found.</p>
          )}
        </Empty>
      </div>
    );
  }
  return (
    <div class="review" data-video={id}>
      <div class="screen">
        <Stage />
        <Transport />
        <Strips />
        <Verdicts />
      </div>
      <ClipList />
    </div>
  );
}

function Stage() {
  const canvas = useRef<HTMLCanvasElement>(null);
  const video = useRef<HTMLVideoElement>(null);
  useEffect(() => mount(canvas.current!, video.current!), []);
  const state = playerState.value;
  const clip = current.value;
  return (
    <div class={`stage ${clip ? `is-${clip.state}` : ""}`}>
      {state?.mode === "stills" ? <Degraded /> : null}
      <div class="picture">
        <canvas ref={canvas} role="img" aria-label="The picture of the frame whose number stands below" onClick={() => player?.toggle()} />
        <video ref={video} hidden playsInline tabIndex={-1} aria-hidden="true" />
        {media.value === null ? <p class="notice faint">The review copy is not ready yet; the picture appears by itself.</p> : null}
        {media.value && !hasPicture.value && !state?.error ? <p class="notice late faint">The first picture is on its way…</p> : null}
        {state?.stalled ? <p class="notice">Waiting for data…</p> : null}
        {state?.error ? (
          <p class="notice bad" role="alert">
            {state.error} <button type="button" onClick={() => player?.seek(player.state.target)}>Try again</button>
          </p>
        ) : null}
      </div>
    </div>
  );
}

function Degraded() {
  return (
    <p class="banner" role="status">
      {typeof VideoDecoder === "function"
        ? "This browser has no decoder for H.264: frames are exact when paused, but nothing plays. Firefox on Linux takes it from the system's libavcodec; install that."
        : window.isSecureContext
          ? "This browser has no WebCodecs: frames are exact when paused, and playing is only nearly so."
          : "This address is not secure, so the browser gives no exact player: frames are exact when paused, playing is only nearly so. Use https, or a tunnel to localhost."}
    </p>
  );
}

function Transport() {
  const state = playerState.value;
  const clip = current.value;
  const rate = perSecond(board.value?.video.rate ?? null);
  const at = frame.value;
  const hasSound = media.value !== null && media.value.audio !== null;
  const inClip = clip ? at - clip.start_frame + 1 : 0;
  return (
    <div class="transport" role="toolbar" aria-label="Playing">
      <div class="buttons">
        <Do id="first-frame" glyph>
          ⇤
        </Do>
        <Do id="backward" glyph pressed={playing.value && (state?.rate ?? 1) < 0}>
          ◀◀
        </Do>
        <Do id="previous-frame" glyph>
          ◀|
        </Do>
        <Do id="play" glyph pressed={playing.value}>
          {playing.value ? "❚❚" : "▶"}
        </Do>
        <Do id="next-frame" glyph>
          |▶
        </Do>
        <Do id="forward" glyph pressed={playing.value && (state?.rate ?? 1) > 1}>
          ▶▶
        </Do>
        <Do id="last-frame" glyph>
          ⇥
        </Do>
        <Do id="loop" pressed={state?.loop ?? true}>
          Loop
        </Do>
        <Do id="check-cut">Cut</Do>
        <Do id="mute" pressed={hasSound && !(state?.muted ?? false)} disabled={!hasSound}>
          Sound
        </Do>
        <Do id="fullscreen">Full</Do>
      </div>
      <output class="where" aria-live="off">
        <strong data-frame={at}>{at < 0 ? "–" : at.toLocaleString("en")}</strong>
        <span class="faint">
          {timecode(Math.max(0, at), rate)}
          {clip ? ` · ${inClip} of ${clip.end_frame - clip.start_frame}` : ""}
          {playing.value && state && state.rate !== 1 ? ` · ${state.rate}×` : ""}
        </span>
      </output>
    </div>
  );
}

function Strips() {
  const clip = current.value;
  const total = board.value?.video.frames ?? 1;
  if (!clip) return null;
  const around = Math.max(4, Math.round((clip.end_frame - clip.start_frame) * 0.06));
  return (
    <div class="strips">
      <Timeline kind="clip" label="This clip, by frame" from={Math.max(0, clip.start_frame - around)} to={Math.min(total, clip.end_frame + around)} onPick={lookAt} />
      <Timeline
        kind="video"
        label="The whole video, by frame"
        from={0}
        to={total}
        onPick={(to, done) => (done ? goTo(to) : lookAt(to))}
      />
    </div>
  );
}

function Verdicts() {
  const clip = current.value;
  const total = clips.value.length;
  const left = undecided.value;
  const hasMarks = marks.value.in !== null || marks.value.out !== null;
  return (
    <div class="verdicts" role="toolbar" aria-label="Deciding">
      <div class="buttons">
        <Do id="approve" wide>
          Approve
        </Do>
        <Do id="skip" wide>
          Skip
        </Do>
        <Do id="archive" wide>
          Archive
        </Do>
        <span class="gap" />
        <Do id="split" wide>
          Split
        </Do>
        <Do id="merge-next" wide>
          Merge
        </Do>
        <Do id="mark-in" wide pressed={marks.value.in !== null}>
          In
        </Do>
        <Do id="mark-out" wide pressed={marks.value.out !== null}>
          Out
        </Do>
        <Do id="trim" disabled={!hasMarks}>
          Trim
        </Do>
        <Do id="tag">
          Tags
        </Do>
        <Do id="note">
          Note
        </Do>
        <span class="gap" />
        <Do id="undo" wide>
          Undo
        </Do>
        <Do id="redo">Redo</Do>
      </div>
      <div class="facts">
        {clip ? (
          <span>
            <Badge state={clip.state} />
            {clip.approved_by ? <span class="faint"> by {clip.approved_by}</span> : null}
            {clip.tags.map((tag) => (
              <span key={tag} class="tag">
                {tag}
              </span>
            ))}
            {clip.note ? <span class="note" title={clip.note}>{clip.note}</span> : null}
            {clip.error ? <span class="bad" title={clip.error.message}> {clip.error.message}</span> : null}
          </span>
        ) : null}
        <span class="faint">
          {session.value?.role === "viewer" ? "Your token lets you look, not decide · " : ""}
          {left ? `${many(left, "clip")} of ${total} undecided` : `All ${total} clips decided`}
          <Pace />
        </span>
      </div>
    </div>
  );
}

function Pace() {
  const now = useSignal(Date.now());
  useEffect(() => {
    const timer = setInterval(() => (now.value = Date.now()), 5000);
    return () => clearInterval(timer);
  }, []);
  const recent = decided.value.filter((one) => one.at > now.value - 600_000);
  if (recent.length < 3) return null;
  const hours = Math.max(10_000, Date.now() - recent[0]!.at) / 3_600_000;
  return <> · {Math.round(recent.length / hours).toLocaleString("en")} decisions an hour</>;
}
