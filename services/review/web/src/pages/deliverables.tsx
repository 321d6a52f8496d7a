// What was delivered: preview, quality report and files of every bundle.

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { call, deliveredUrl, query, stillUrl, type Clip, type Deliverable } from "../api";
import { Badge, Empty, Loading, middle, Trouble } from "../parts/bits";
import { useLoad } from "../parts/load";
import { route } from "../store";
import { ago, size } from "../words";
import { Pages, usePages } from "./queue";

const LIMIT = 30;
const DELIVERED = ["exported", "keyframing", "keyframed", "keyframe_failed", "embedding", "embedded", "embedding_failed"];

interface Finding {
  check?: string;
  code?: string;
  verdict?: string;
  level?: string;
  message?: string;
  detail?: string;
}

export function Deliverables() {
  const pages = usePages();
  const video = route.value.id;
  const { data, error, again } = useLoad<{ clips: Clip[]; next: string | null }>(`/api/clips${query({ state: [...DELIVERED], video, limit: LIMIT, cursor: pages.cursor })}`);
  return (
    <div class="page">
      <div class="page-head">
        <h1>Deliverables</h1>
      </div>
      {error && !data ? <Trouble error={error} again={again} /> : null}
      {!data && !error ? <Loading what="deliverables" /> : null}
      {data && !data.clips.length ? (
        <Empty title="Nothing is delivered yet.">
          <p>
            Approve clips on the <a href="#/queue">review page</a>; they appear here once they are exported.
          </p>
        </Empty>
      ) : null}
      <ul class="bundles">{data?.clips.map((clip) => clip.deliverables.map((bundle) => <Bundle key={`${clip.id} ${bundle.profile}`} clip={clip} bundle={bundle} />))}</ul>
      {data ? <Pages pages={pages} next={data.next} /> : null}
    </div>
  );
}

function Bundle({ clip, bundle }: { clip: Clip; bundle: Deliverable }) {
  const shows = useSignal(false);
  const poster = bundle.files.find((file) => file.role === "poster");
  const main = bundle.files.find((file) => file.role === "video");
  const name = `${bundle.profile}, frames ${clip.start_frame} to ${clip.end_frame - 1}`;
  const playable = main && /mp4|webm|quicktime/.test(main.object.content_type || main.name);
  return (
    <li class="bundle">
      <div class="preview">
        {shows.value && main ? (
          <video controls autoplay playsInline src={deliveredUrl(clip.id, bundle.profile, main.name)} poster={poster ? deliveredUrl(clip.id, bundle.profile, poster.name) : undefined} aria-label={`Preview of ${name}`} />
        ) : (
          <>
            <img class="tile" loading="lazy" decoding="async" alt="" src={poster ? deliveredUrl(clip.id, bundle.profile, poster.name) : stillUrl(clip.video_id, middle(clip), 160)} />
            {playable ? (
              <button type="button" aria-label={`Play ${name}`} onClick={() => (shows.value = true)}>
                ▶ Play
              </button>
            ) : null}
          </>
        )}
      </div>
      <div class="grow">
        <p class="row">
          <a class="title" data-row href={`#/review/${clip.video_id}/${clip.id}`}>
            Frames {clip.start_frame}–{clip.end_frame - 1}
          </a>
          <span class="tag">{bundle.profile}</span>
          <Badge state={clip.state} />
          {bundle.verdict ? <span class={`verdict ${bundle.verdict}`}>Quality: {bundle.verdict}</span> : null}
          <span class="faint">{ago(clip.changed_at)}</span>
          <a href={`#/search?like=${clip.id}`}>Alike</a>
        </p>
        <ul class="files">
          {[...bundle.files, { role: "manifest", name: "manifest.json", object: { ...bundle.manifest, content_type: "application/json" } }].map((file) => (
            <li key={file.name}>
              <a href={deliveredUrl(clip.id, bundle.profile, file.name)} target="_blank" rel="noopener" download={file.name}>
                {file.name}
              </a>{" "}
              <span class="faint">
                {file.role}, {size(file.object.size)}
              </span>
            </li>
          ))}
        </ul>
        <Report clip={clip} bundle={bundle} />
      </div>
    </li>
  );
}

function Report({ clip, bundle }: { clip: Clip; bundle: Deliverable }) {
  const open = useSignal(false);
  const found = useSignal<Finding[] | null>(null);
  const failed = useSignal("");
  useEffect(() => {
    if (!open.value || found.value) return;
    call<{ qc?: { findings?: Finding[] } }>(deliveredUrl(clip.id, bundle.profile, "manifest.json")).then(
      (manifest) => (found.value = manifest.qc?.findings ?? []),
      () => (failed.value = "The report cannot be shown here; open manifest.json instead."),
    );
  }, [open.value]);
  return (
    <details onToggle={(event) => (open.value = event.currentTarget.open)}>
      <summary>Quality report</summary>
      {failed.value ? <p class="faint">{failed.value}</p> : null}
      {found.value?.length === 0 ? <p class="faint">Every check passed.</p> : null}
      <ul>
        {found.value?.slice(0, 50).map((finding, number) => (
          <li key={number}>
            <strong>{finding.verdict ?? finding.level ?? ""}</strong> {finding.check ?? finding.code} {finding.message ?? finding.detail}
          </li>
        ))}
      </ul>
    </details>
  );
}
