// For operators: how the stages stand, what failed, messages nobody could use, and the timeline of one clip or video.

import { useSignal } from "@preact/signals";
import { call, query } from "../api";
import type { DeadLetterDetail, DeadLetterOut, DeadLetterPage, FailurePage, StageOut, StagesOut, TraceOut } from "../served";
import { Empty, Loading, Trouble } from "../parts/bits";
import { useLoad } from "../parts/load";
import { go, route, session, tell } from "../store";
import { ago, length, many } from "../words";
import { Pages, usePages } from "./queue";

const TABS: [string, string][] = [
  ["stages", "Stages"],
  ["failures", "Failures"],
  ["letters", "Dead letters"],
  ["trace", "Timeline"],
];

export function Ops() {
  const tab = route.value.id ?? "stages";
  return (
    <div class="page">
      <div class="page-head">
        <h1>Operations</h1>
        <nav class="tabs" aria-label="What operations shows">
          {TABS.map(([name, title]) => (
            <a key={name} href={`#/ops/${name}`} aria-current={tab === name ? "page" : undefined}>
              {title}
            </a>
          ))}
        </nav>
      </div>
      {tab === "failures" ? <Failures /> : tab === "letters" ? <Letters /> : tab === "trace" ? <Trace /> : <Stages />}
    </div>
  );
}

/** The way of a video through the house; what is not on it comes last. */
const WAY = ["ingest fetch", "preprocess proxy", "preprocess master", "scenes detect", "export export", "embed keyframe", "embed embed"];
const place = ({ service, kind }: StageOut) => (WAY.indexOf(`${service} ${kind}`) + WAY.length + 1) % (WAY.length + 1);

function Stages() {
  const { data, error, again } = useLoad<StagesOut>("/api/ops/stages");
  if (error && !data) return <Trouble error={error} again={again} />;
  if (!data) return <Loading what="stages" />;
  const behind = Object.entries(data.unpublished).filter(([, count]) => count);
  return (
    <>
      <div class="scroll" tabIndex={0} role="region" aria-label="Stages">
        <table>
          <thead>
            <tr>
              <th scope="col">Stage</th>
              <th scope="col">Waiting</th>
              <th scope="col">Running</th>
              <th scope="col">Oldest</th>
              <th scope="col">Done in an hour</th>
              <th scope="col">Takes (median, 95 %)</th>
              <th scope="col">Failed</th>
            </tr>
          </thead>
          <tbody>
            {[...data.stages].sort((a, b) => place(a) - place(b)).map((stage) => (
              <tr key={`${stage.service} ${stage.kind}`}>
                <th scope="row">
                  {stage.service} <span class="faint">{stage.kind}</span>
                </th>
                <td>{stage.waiting}</td>
                <td>{stage.running}</td>
                <td>{length(stage.oldest_seconds)}</td>
                <td>{stage.done_last_hour}</td>
                <td>{stage.seconds_p50 === null ? "" : `${length(stage.seconds_p50)}, ${length(stage.seconds_p95)}`}</td>
                <td>
                  {stage.failed ? (
                    <a href="#/ops/failures" class="bad">
                      {stage.failed}
                    </a>
                  ) : (
                    0
                  )}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
        {data.stages.length ? null : <Empty title="No stage has had any work yet." />}
      </div>
      <p class="faint">{behind.length ? `Events that wait for the broker: ${behind.map(([service, count]) => `${service} ${count}`).join(", ")}.` : "Every event that may go out is with the broker."}</p>
    </>
  );
}

const mayAct = () => session.value === null || session.value.role === "operator";

async function act(path: string, body: unknown, said: string, after: () => void): Promise<void> {
  try {
    await call(path, { json: body });
    tell(said, "good");
  } catch (error) {
    tell((error as Error).message, "bad");
  }
  after();
}

function Failures() {
  const pages = usePages();
  const { data, error, again } = useLoad<FailurePage>(`/api/ops/failures${query({ limit: 50, cursor: pages.cursor })}`);
  if (error && !data) return <Trouble error={error} again={again} />;
  if (!data) return <Loading what="failures" />;
  if (!data.failures.length && !pages.back) return <Empty title="Nothing has failed." />;
  return (
    <>
      <p class="row">
        <button type="button" disabled={!mayAct()} onClick={() => act("/api/ops/failures/retry", { service: null }, "Everything that failed is tried again.", again)}>
          Try all of them again
        </button>
      </p>
      <ul class="failures">
        {data.failures.map((failed) => (
          <li key={failed.work_id}>
            <div class="grow">
              <strong>
                {failed.service} {failed.kind}
              </strong>{" "}
              <code>{failed.code}</code> <span class="faint">{many(failed.attempts, "attempt")}
                {failed.failed_at ? `, ${ago(failed.failed_at)}` : ""}</span>
              <p class="bad">{failed.message}</p>
              <span class="row">
                {failed.video_id ? <a href={`#/video/${failed.video_id}`}>Video</a> : null}
                {failed.clip_id ? <a href={`#/ops/trace?clip=${failed.clip_id}`}>Timeline</a> : failed.video_id ? <a href={`#/ops/trace?video=${failed.video_id}`}>Timeline</a> : null}
              </span>
            </div>
            <button type="button" disabled={!mayAct()} onClick={() => act(`/api/ops/failures/${failed.service}/${failed.work_id}/retry`, {}, "It is tried again.", again)}>
              Try again
            </button>
            <button type="button" disabled={!mayAct()} onClick={() => act(`/api/ops/failures/${failed.service}/${failed.work_id}/discard`, {}, "It is given up.", again)}>
              Give up
            </button>
          </li>
        ))}
      </ul>
      <Pages pages={pages} next={data.next} />
    </>
  );
}

function Letters() {
  const pages = usePages();
  const { data, error, again } = useLoad<DeadLetterPage>(`/api/dead-letters${query({ limit: 50, cursor: pages.cursor })}`);
  if (error && !data) return <Trouble error={error} again={again} />;
  if (!data) return <Loading what="dead letters" />;
  if (!data.dead_letters.length && !pages.back) {
    return (
      <Empty title="No dead letters.">
        <p>Messages that no service could use come here, with the reason.</p>
      </Empty>
    );
  }
  return (
    <>
      <ul class="failures">
        {data.dead_letters.map((letter) => (
          <LetterRow key={letter.id} letter={letter} again={again} />
        ))}
      </ul>
      <Pages pages={pages} next={data.next} />
    </>
  );
}

function LetterRow({ letter, again }: { letter: DeadLetterOut; again: () => void }) {
  const text = useSignal<string | null>(null);
  const inspect = async (open: boolean) => {
    if (!open || text.value !== null) return;
    const found = await call<Pick<DeadLetterDetail, "text" | "value_base64">>(`/api/dead-letters/${letter.id}`).catch((error: Error) => ({ text: error.message, value_base64: null }));
    text.value = (found.text ?? found.value_base64 ?? "(empty)").slice(0, 4000);
  };
  const open = letter.state === "open";
  return (
    <li>
      <div class="grow">
        <strong>{letter.topic}</strong> <code>{letter.code}</code> <span class="faint">{ago(letter.recorded_at)}{open ? "" : `, ${letter.state}`}</span>
        <p>{letter.reason}</p>
        <details onToggle={(event) => void inspect(event.currentTarget.open)}>
          <summary>Inspect</summary>
          <pre tabIndex={0}>{text.value ?? "Loading…"}</pre>
        </details>
      </div>
      <button type="button" disabled={!open || !mayAct()} onClick={() => act(`/api/dead-letters/${letter.id}/replay`, {}, "The message was published again.", again)}>
        Publish again
      </button>
      <button type="button" disabled={!open || !mayAct()} onClick={() => act(`/api/dead-letters/${letter.id}/discard`, {}, "The message was given up.", again)}>
        Give up
      </button>
    </li>
  );
}

function Trace() {
  const { search } = route.value;
  const clip = search.get("clip");
  const video = search.get("video");
  const text = useSignal(clip ?? video ?? "");
  const path = clip ? `/api/clips/${encodeURIComponent(clip)}/trace` : video ? `/api/videos/${encodeURIComponent(video)}/trace` : null;
  const { data, error, again } = useLoad<TraceOut>(path, false);
  return (
    <>
      <form
        class="row"
        onSubmit={(event) => {
          event.preventDefault();
          const kind = (event.submitter as HTMLButtonElement | null)?.value === "video" ? "video" : "clip";
          go(`#/ops/trace?${kind}=${encodeURIComponent(text.value.trim())}`);
        }}
      >
        <label class="grow">
          <span class="hidden-label">Id of a clip or video</span>
          <input data-first type="text" required pattern="[0-9a-fA-F\-]{32,36}" placeholder="id of a clip or video" value={text.value} onInput={(event) => (text.value = event.currentTarget.value)} />
        </label>
        <button type="submit" value="clip" class="primary">
          Of a clip
        </button>
        <button type="submit" value="video">
          Of a video
        </button>
      </form>
      {!path ? <Empty title="The way of one clip, from request to embedding.">Give its id, or come here from a failure.</Empty> : null}
      {error ? <Trouble error={error} again={again} /> : null}
      {path && !data && !error ? <Loading what="the timeline" /> : null}
      {data ? <Lines data={data} /> : null}
    </>
  );
}

const SHOWN = 100;

function Lines({ data }: { data: TraceOut }) {
  return (
    <>
      <p class="faint">
        Trace <code>{data.trace_id}</code>, {length(data.seconds)} in all
        {data.idle.length ? `; drawn short, for nothing queued or ran: ${data.idle.map(([start, end]) => length(end - start)).join(", ")}` : ""}
      </p>
      <div class="scroll" tabIndex={0} role="region" aria-label="Timeline">
        <table class="trace">
          <tbody>
            {data.lines.slice(0, SHOWN).map((line, number) => (
              <tr key={number}>
                <th scope="row" style={{ paddingLeft: `${0.4 + Math.min(12, line.depth) * 0.8}rem` }}>
                  {line.service} <span class="faint">{line.name}</span>
                </th>
                <td>
                  <span class="lane">
                    <span
                      class={`span ${/error/i.test(line.status) ? "failed" : ""}`}
                      style={{ left: `${line.drawn_from * 100}%`, width: `${Math.max(0.3, (line.drawn_to - line.drawn_from) * 100)}%` }}
                    />
                  </span>
                </td>
                <td>{length(line.end - line.start)}</td>
                <td class="faint">{line.queue_seconds ? `waited ${length(line.queue_seconds)}` : ""}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {data.lines.length > SHOWN ? <p class="faint">The first {SHOWN} of {data.lines.length} spans.</p> : null}
    </>
  );
}
