// What was delivered: preview, pictures, quality report and files of every bundle.

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { call, deliveredUrl, middle, query, stillUrl, type Clip, type ClipPage, type Deliverable, type Manifest } from "../api";
import { Badge, Empty, Loading, Trouble } from "../parts/bits";
import { useLoad } from "../parts/load";
import type { TrainingSetOut } from "../served";
import { route } from "../store";
import { ago, DELIVERED, lasts, perSecond, size, timecode, words } from "../words";
import { Pages, usePages } from "./queue";

const LIMIT = 30;
/** The files that most people come for; the others are shown on demand. */
const FIRST = ["video", "captions", "report"];
const PICTURES = ["contact_sheet", "waveform"];

export function Deliverables() {
  const pages = usePages();
  const video = route.value.id;
  const { data, error, again } = useLoad<ClipPage>(`/api/clips${query({ state: DELIVERED, video, limit: LIMIT, cursor: pages.cursor })}`);
  return (
    <div class="page">
      <div class="page-head">
        <h1>Deliverables</h1>
        {video ? (
          <span>
            of one video · <a href="#/deliverables">of all videos</a>
          </span>
        ) : null}
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
      {data?.clips.length ? <TrainingSet video={video} /> : null}
      <ul class="bundles">{data?.clips.map((clip) => clip.deliverables.map((bundle) => <Bundle key={`${clip.id} ${bundle.profile}`} clip={clip} bundle={bundle} />))}</ul>
      {data ? <Pages pages={pages} next={data.next} /> : null}
    </div>
  );
}

function TrainingSet({ video }: { video: string | null }) {
  const open = useSignal(false);
  const { data, error } = useLoad<TrainingSetOut>(open.value ? `/api/training-set${query({ video })}` : null, false);
  return (
    <details onToggle={(event) => (open.value = event.currentTarget.open)}>
      <summary>Training set</summary>
      {error ? <p class="faint">{error.message}</p> : null}
      {data ? (
        <>
          <p>
            {data.samples} delivered clips as WebDataset shards, {size(data.bytes)}, and an index of them:
          </p>
          <ul class="files">
            {data.shards.map((shard) => (
              <li key={shard.url}>
                <a href={shard.url} download={shard.name}>
                  {shard.name}
                </a>{" "}
                <span class="faint">
                  {shard.samples} clips, {size(shard.bytes)}
                </span>
              </li>
            ))}
            <li>
              <a href={data.index} download="index.parquet">
                index.parquet
              </a>
            </li>
          </ul>
        </>
      ) : null}
    </details>
  );
}

function Bundle({ clip, bundle }: { clip: Clip; bundle: Deliverable }) {
  const shows = useSignal(false);
  const address = (name: string) => deliveredUrl(clip.id, bundle.profile, name);
  const poster = bundle.files.find((file) => file.role === "poster");
  const main = bundle.files.find((file) => file.role === "video");
  const rate = perSecond(clip.rate);
  const name = `${bundle.profile}, frames ${clip.start_frame} to ${clip.end_frame - 1}`;
  const playable = main && /mp4|webm|quicktime/.test(main.object.content_type || main.name);
  const files = [...bundle.files, { role: "manifest", name: "manifest.json", object: bundle.manifest }];
  const isFirst = (role: string) => FIRST.some((first) => role.startsWith(first));
  return (
    <li class="bundle">
      <div class="preview">
        {shows.value && main ? (
          <video controls autoplay playsInline src={address(main.name)} poster={poster ? address(poster.name) : undefined} aria-label={`Preview of ${name}`} />
        ) : (
          <>
            <img class="tile" loading="lazy" decoding="async" alt="" src={poster ? address(poster.name) : stillUrl(clip.video_id, middle(clip), 160)} />
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
            <strong>{clip.title || "Untitled"}</strong>
          </a>
          <span class="tag">{bundle.profile}</span>
          <Badge state={clip.state} />
          {bundle.verdict ? (
            <span>
              <span class={`verdict ${bundle.verdict}`}>Quality: {bundle.verdict}</span> <span class="faint">{bundle.finding_codes.map(reason).join(", ")}</span>
            </span>
          ) : null}
        </p>
        <p class="row faint">
          <span>
            {timecode(clip.start_frame, rate)}–{timecode(clip.end_frame, rate)} · {lasts(clip)} · frames {clip.start_frame}–{clip.end_frame - 1} · {ago(clip.changed_at)}
          </span>
          <a href={`#/search?like=${clip.id}`}>Alike</a>
          {route.value.id ? null : <a href={`#/deliverables/${clip.video_id}`}>Of this video</a>}
        </p>
        <Files files={files.filter((file) => isFirst(file.role))} address={address} />
        <details>
          <summary>All {files.length} files</summary>
          <Files files={files.filter((file) => !isFirst(file.role))} address={address} />
        </details>
        <Report clip={clip} bundle={bundle} />
      </div>
    </li>
  );
}

/** A finding's code as words: without whose finding it is. */
const reason = (code: string) => words(code.slice(code.indexOf(".") + 1));

function Files({ files, address }: { files: Deliverable["files"]; address: (name: string) => string }) {
  return (
    <ul class="files">
      {files.map((file) => (
        <li key={file.name}>
          <a href={address(file.name)} target="_blank" rel="noopener" download={file.role === "report" ? undefined : file.name}>
            {file.name}
          </a>{" "}
          <span class="faint">
            {words(file.role)}, {size(file.object.size)}
          </span>
        </li>
      ))}
    </ul>
  );
}

function Report({ clip, bundle }: { clip: Clip; bundle: Deliverable }) {
  const open = useSignal(false);
  const found = useSignal<Manifest | null>(null);
  const failed = useSignal("");
  useEffect(() => {
    if (!open.value || found.value) return;
    call<Manifest>(deliveredUrl(clip.id, bundle.profile, "manifest.json")).then(
      (manifest) => (found.value = manifest),
      () => (failed.value = "The report cannot be shown here; open manifest.json instead."),
    );
  }, [open.value]);
  return (
    <details onToggle={(event) => (open.value = event.currentTarget.open)}>
      <summary>Pictures and quality</summary>
      {failed.value ? <p class="faint">{failed.value}</p> : null}
      {found.value ? <Quality manifest={found.value} /> : null}
      {open.value
        ? bundle.files
            .filter((file) => PICTURES.includes(file.role))
            .map((file) => <img key={file.name} class="sheet" loading="lazy" alt={words(file.role)} src={deliveredUrl(clip.id, bundle.profile, file.name)} />)
        : null}
    </details>
  );
}

function Quality({ manifest: { files, qc } }: { manifest: Manifest }) {
  const main = files.find((file) => file.role === "video");
  const level = (value: number | null, unit: string) => (value === null ? null : `${value.toFixed(1)} ${unit}`);
  const facts = [
    main?.pictures ? `${main.pictures.codec} ${main.pictures.width}×${main.pictures.height}, ${main.pictures.frames} frames` : null,
    main?.sound ? `${main.sound.codec} ${main.sound.sample_rate / 1000} kHz ${main.sound.layout}` : null,
    level(qc.loudness?.integrated ?? null, "LUFS"),
    level(qc.loudness?.true_peak ?? null, "dBTP"),
  ];
  return (
    <>
      <p class="faint">{facts.filter(Boolean).join(" · ")}</p>
      {qc.findings.length ? (
        <ul class="findings">
          {qc.findings.slice(0, 50).map((finding, number) => (
            <li key={number}>
              <span class={`verdict ${finding.verdict}`}>{finding.verdict}</span> {finding.message} <code>{finding.code}</code>{" "}
              <span class="faint">
                {[finding.measured && `measured ${finding.measured}`, finding.limit && `limit ${finding.limit}`, finding.frames && `frames ${finding.frames.start}–${finding.frames.end - 1}`, finding.file].filter(Boolean).join(", ")}
              </span>
            </li>
          ))}
        </ul>
      ) : (
        <p class="faint">All {qc.checks.length} checks passed.</p>
      )}
    </>
  );
}
