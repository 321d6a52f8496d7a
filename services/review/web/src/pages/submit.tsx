// Hands videos in: by address, or as files that are sent in parts and go on where they stopped.

import { signal, useSignal } from "@preact/signals";
import { call, freshKey, patiently, Problem } from "../api";
import { Bar } from "../parts/bits";
import { Profiles } from "../parts/profiles";
import type { Options, RequestResult, UploadOut } from "../served";
import { tell } from "../store";
import { size } from "../words";

interface Sending {
  key: string;
  file: File;
  done: number;
  state: "sending" | "paused" | "sent" | "failed";
  note: string;
  video: string | null;
  abort: AbortController;
}

const AT_ONCE = 2;
const TRIES = 30;
const DETECTORS: [string, string][] = [
  ["adaptive", "cuts and fades, fast"],
  ["fused", "dissolves and wipes too, with a model"],
  ["transnetv2", "the model alone"],
  ["content", "plain differences"],
  ["histogram", "differences of colours"],
];

/** Files on their way. They go on while other pages are shown. */
const sendings = signal<Sending[]>([]);

addEventListener("beforeunload", (event) => {
  if (sendings.value.some((one) => one.state === "sending")) event.preventDefault();
});

const update = (key: string, change: Partial<Sending>) => (sendings.value = sendings.value.map((one) => (one.key === key ? { ...one, ...change } : one)));

interface Wishes {
  title: string;
  tags: string[];
  options: Options;
}

async function send(key: string, file: File, wishes: Wishes, stop: AbortSignal): Promise<void> {
  const sure = <T,>(ask: () => Promise<T>) => patiently(ask, TRIES, stop);
  const upload = await sure(() =>
    call<UploadOut>("/api/uploads", {
      json: { name: file.name, size: file.size, fingerprint: `${file.name}:${file.size}:${file.lastModified}`, content_type: file.type || "application/octet-stream" },
    }),
  );
  const lengthOf = (part: number) => Math.min(part * upload.part_bytes, file.size) - (part - 1) * upload.part_bytes;
  const missing = Array.from({ length: upload.parts }, (_, at) => at + 1).filter((part) => !upload.have.includes(part));
  let done = upload.have.reduce((sum, part) => sum + lengthOf(part), 0);
  update(key, { done, note: upload.have.length ? "Going on where it stopped" : "" });
  const worker = async () => {
    for (let part = missing.shift(); part !== undefined; part = missing.shift()) {
      const number = part;
      const from = (number - 1) * upload.part_bytes;
      await sure(() =>
        call(`/api/uploads/${upload.upload_id}/parts/${number}`, {
          method: "PUT",
          body: file.slice(from, from + lengthOf(number)),
          headers: { "content-type": "application/octet-stream" },
          within: 300_000,
          stop,
        }),
      );
      done += lengthOf(number);
      update(key, { done, note: "" });
    }
  };
  if (upload.state !== "complete") {
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    await sure(() => call(`/api/uploads/${upload.upload_id}/complete`, { method: "POST", within: 120_000, stop }));
  }
  const asked = await sure(() =>
    call<RequestResult>("/api/requests", { json: { source: upload.source, ...wishes, title: wishes.title || file.name.replace(/\.[^.]+$/, ""), idempotency_key: `upload:${upload.upload_id}` } }),
  );
  update(key, { state: "sent", done: file.size, video: asked.video_id, note: "" });
}

function begin(file: File, wishes: Wishes, known?: string): void {
  const key = known ?? freshKey();
  const abort = new AbortController();
  const fresh: Sending = { key, file, done: 0, state: "sending", note: "", video: null, abort };
  sendings.value = known ? sendings.value.map((one) => (one.key === key ? { ...fresh, done: one.done } : one)) : [...sendings.value, fresh];
  send(key, file, wishes, abort.signal).catch((error: Error) => {
    if (abort.signal.aborted) update(key, { state: "paused", note: "Paused" });
    else update(key, { state: "failed", note: error instanceof Problem ? error.message : "The service stayed away; go on when it is back." });
  });
}

export function Submit() {
  const address = useSignal("");
  const title = useSignal("");
  const tags = useSignal("");
  const review = useSignal<Options["review"]>("human");
  const splice = useSignal(true);
  const mastering = useSignal<Options["mastering"]>("eager");
  const detector = useSignal("adaptive");
  const captions = useSignal("");
  const profiles = useSignal(["delivery-h264"]);
  const over = useSignal(false);
  const busy = useSignal(false);
  const sent = useSignal<{ video_id: string; url: string }[]>([]);

  const list = (text: string) => [...new Set(text.split(",").map((part) => part.trim()).filter(Boolean))];
  const wishes = (): Wishes => ({
    title: title.value.trim(),
    tags: list(tags.value),
    options: {
      review: review.value,
      needs_splicing: splice.value,
      mastering: mastering.value,
      detector: detector.value,
      profiles: profiles.value.length ? profiles.value : ["delivery-h264"],
      caption_languages: list(captions.value),
    },
  });
  const take = (files: FileList | null | undefined) => {
    for (const file of files ?? []) begin(file, wishes());
  };
  const submit = async () => {
    busy.value = true;
    const { title: named, ...rest } = wishes();
    try {
      const body = { source: { kind: "url", url: address.value.trim() }, ...rest, ...(named ? { title: named } : {}), idempotency_key: freshKey() };
      const asked = await call<RequestResult>("/api/requests", { json: body });
      sent.value = [{ video_id: asked.video_id, url: address.value.trim() }, ...sent.value].slice(0, 20);
      address.value = "";
      tell("Submitted; it appears in the queue by itself.", "good");
    } catch (error) {
      tell(`Not submitted: ${(error as Error).message}`, "bad");
    } finally {
      busy.value = false;
    }
  };

  return (
    <div class="page narrow">
      <div class="page-head">
        <h1>Submit</h1>
      </div>
      <label
        class={`drop ${over.value ? "over" : ""}`}
        onDragOver={(event) => {
          event.preventDefault();
          over.value = true;
        }}
        onDragLeave={() => (over.value = false)}
        onDrop={(event) => {
          event.preventDefault();
          over.value = false;
          take(event.dataTransfer?.files);
        }}
      >
        <strong>Drop videos here, or choose files</strong>
        <span class="faint">Any size. A transfer that stops goes on where it was when the same file is chosen again.</span>
        <input data-first type="file" multiple accept="video/*,.mkv,.mxf,.ts" onChange={(event) => (take(event.currentTarget.files), (event.currentTarget.value = ""))} />
      </label>
      <form
        class="row"
        onSubmit={(event) => {
          event.preventDefault();
          void submit();
        }}
      >
        <label class="grow">
          <span class="hidden-label">Address of a video</span>
          <input type="url" required maxLength={4096} placeholder="https://… address of a video, playlist or channel" value={address.value} onInput={(event) => (address.value = event.currentTarget.value)} />
        </label>
        <button type="submit" class="primary" disabled={busy.value}>
          Submit
        </button>
      </form>
      {sendings.value.length ? (
        <section aria-label="Transfers">
          <h2>Transfers</h2>
          <ul class="sendings">
            {sendings.value.map((one) => (
              <li key={one.key}>
                <Bar label={one.file.name} value={one.file.size ? one.done / one.file.size : 1} note={`${size(one.done)} of ${size(one.file.size)}`} />
                <span class={one.state === "failed" ? "bad" : "faint"}>{one.note}</span>
                {one.state === "sending" ? (
                  <button type="button" onClick={() => one.abort.abort()}>
                    Pause
                  </button>
                ) : null}
                {one.state === "paused" || one.state === "failed" ? (
                  <button type="button" onClick={() => begin(one.file, wishes(), one.key)}>
                    Go on
                  </button>
                ) : null}
                {one.video ? <a href={`#/video/${one.video}`}>See the video</a> : null}
              </li>
            ))}
          </ul>
        </section>
      ) : null}
      {sent.value.length ? (
        <ul>
          {sent.value.map((one) => (
            <li key={one.video_id}>
              <a href={`#/video/${one.video_id}`}>{one.url}</a>
            </li>
          ))}
        </ul>
      ) : null}
      <fieldset class="wishes">
        <legend>For what is handed in from now on</legend>
        <label>
          Title
          <input type="text" maxLength={500} placeholder="as the video says" value={title.value} onInput={(event) => (title.value = event.currentTarget.value)} />
        </label>
        <label>
          Tags
          <input type="text" placeholder="separated by commas" value={tags.value} onInput={(event) => (tags.value = event.currentTarget.value)} />
        </label>
        <label>
          Who decides
          <select value={review.value} onChange={(event) => (review.value = event.currentTarget.value as Options["review"])}>
            <option value="human">a person, on the review page</option>
            <option value="auto">nobody: approve every clip</option>
          </select>
        </label>
        <label>
          Scenes are found by
          <select value={detector.value} disabled={!splice.value} onChange={(event) => (detector.value = event.currentTarget.value)}>
            {DETECTORS.map(([name, purpose]) => (
              <option key={name} value={name}>
                {name}: {purpose}
              </option>
            ))}
          </select>
        </label>
        <label>
          The master is made
          <select value={mastering.value} onChange={(event) => (mastering.value = event.currentTarget.value as Options["mastering"])}>
            <option value="eager">at once, of the whole video</option>
            <option value="approved">of approved clips only</option>
            <option value="none">never; exports read the source</option>
          </select>
        </label>
        <label>
          Caption languages
          <input type="text" placeholder="such as en, de" value={captions.value} onInput={(event) => (captions.value = event.currentTarget.value)} />
        </label>
        <label class="check">
          <input type="checkbox" checked={splice.value} onChange={(event) => (splice.value = event.currentTarget.checked)} /> Find scenes (off: the video is one clip already)
        </label>
        <Profiles chosen={profiles} legend="Approved clips are delivered as" />
      </fieldset>
    </div>
  );
}
