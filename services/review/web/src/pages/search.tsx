// Finds delivered clips by words, by a picture, by likeness, and groups of near duplicates.

import { batch, useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { call, query, stillUrl } from "../api";
import { Badge, Empty, Loading, Trouble } from "../parts/bits";
import { go, route, tell } from "../store";
import { length, many } from "../words";

interface Match {
  clip_id: string;
  video_id: string;
  title: string;
  state: string;
  start_frame: number;
  end_frame: number;
  seconds: number | null;
  score: number;
  frame: number | null;
  matched?: string[];
  snippet?: string | null;
}

interface Answer {
  results?: Match[];
  groups?: { likeness: number; clips: Match[] }[];
  advice?: string | null;
  notice?: string | null;
  next?: string | null;
}

const LIMIT = 40;

export function Search() {
  const { search } = route.value;
  const q = search.get("q") ?? "";
  const like = search.get("like");
  const twins = search.has("duplicates");
  const text = useSignal(q);
  const tag = useSignal(search.get("tag") ?? "");
  const answer = useSignal<(Answer & { what: string }) | null>(null);
  const error = useSignal<Error | null>(null);
  const busy = useSignal(false);
  const picture = useSignal<File | null>(null);
  const over = useSignal(false);

  const latest = useRef(0);
  const run = async (what: string, ask: () => Promise<Answer>) => {
    const number = ++latest.current;
    busy.value = true;
    error.value = null;
    const [found, problem] = await ask().then(
      (found) => [{ ...found, what }, null] as const,
      (reason: Error) => [null, reason] as const,
    );
    // Whoever has asked something else meanwhile wants this no more.
    if (number !== latest.current) return;
    batch(() => {
      answer.value = found;
      error.value = problem;
      busy.value = false;
    });
  };
  const byAddress = () => {
    const filters = { limit: LIMIT, tag: search.get("tag") };
    if (like) void run("like the chosen clip", () => call<Answer>(`/api/search/similar/${encodeURIComponent(like)}${query(filters)}`));
    else if (twins) void run("near duplicates", () => call<Answer>(`/api/search/duplicates${query(filters)}`));
    else if (q) void run(`for “${q}”`, () => call<Answer>(`/api/search${query({ q, ...filters })}`));
    else answer.value = null;
  };
  useEffect(() => {
    picture.value = null;
    byAddress();
  }, [q, like, twins, search.get("tag")]);
  const byPicture = (files: FileList | null | undefined) => {
    const file = [...(files ?? [])].find(({ type }) => type.startsWith("image/"));
    if (!file) return tell("There is no picture in that; use a JPEG, PNG or WebP file.");
    picture.value = file;
    void run(`like the picture ${file.name}`, () => call<Answer>(`/api/search/image${query({ limit: LIMIT })}`, { method: "POST", body: file, headers: { "content-type": file.type } }));
  };
  useEffect(() => {
    const paste = (event: ClipboardEvent) => {
      // Words are pasted into their field as ever.
      if (event.clipboardData?.files.length) byPicture(event.clipboardData.files);
    };
    addEventListener("paste", paste);
    return () => removeEventListener("paste", paste);
  }, []);
  const shownPicture = useMemo(() => picture.value && URL.createObjectURL(picture.value), [picture.value]);
  useEffect(() => () => void (shownPicture && URL.revokeObjectURL(shownPicture)), [shownPicture]);
  const found = answer.value;
  return (
    <div
      class={`page takes-pictures ${over.value ? "over" : ""}`}
      onDragOver={(event) => {
        event.preventDefault();
        over.value = true;
      }}
      onDragLeave={(event) => (over.value = event.currentTarget.contains(event.relatedTarget as Node | null))}
      onDrop={(event) => {
        event.preventDefault();
        over.value = false;
        byPicture(event.dataTransfer?.files);
      }}
    >
      <div class="page-head">
        <h1>Search</h1>
      </div>
      <form
        class="row search"
        role="search"
        onSubmit={(event) => {
          event.preventDefault();
          go(`#/search${query({ q: text.value.trim(), tag: tag.value.trim() })}`);
        }}
      >
        <label class="grow">
          <span class="hidden-label">Words</span>
          <input data-first type="search" maxLength={500} placeholder="What is seen or said in the clip?" value={text.value} onInput={(event) => (text.value = event.currentTarget.value)} />
        </label>
        <label>
          <span class="hidden-label">Tag</span>
          <input type="text" class="short" maxLength={100} placeholder="tag" value={tag.value} onInput={(event) => (tag.value = event.currentTarget.value)} />
        </label>
        <button type="submit" class="primary">
          Search
        </button>
        <label class="button file">
          By picture…
          <input type="file" accept="image/*" onChange={(event) => byPicture(event.currentTarget.files)} />
        </label>
        <a class="button" href="#/search?duplicates=1">
          Near duplicates
        </a>
      </form>
      {found?.advice ? <p class="banner">{found.advice}</p> : null}
      {found?.notice ? <p class="banner">{found.notice}</p> : null}
      {busy.value ? <Loading what="matches" /> : null}
      {error.value ? <Trouble error={error.value} again={byAddress} /> : null}
      {!busy.value && !error.value && !found ? (
        <Empty title="Find delivered clips.">
          <p>Write what is seen or said, drop or paste a picture, or ask for clips like another on the deliverables page.</p>
        </Empty>
      ) : null}
      {!busy.value && found ? (
        <>
          <p class="faint row" role="status">
            {shownPicture ? <img class="asked" src={shownPicture} alt="" /> : null}
            {found.groups ? many(found.groups.length, "group") : many(found.results?.length ?? 0, "clip")} {found.what}
          </p>
          {found.results?.length ? <Matches list={found.results} /> : null}
          {found.groups?.map((group, number) => (
            <section key={number}>
              <h2>{Math.round(group.likeness * 100)} % alike</h2>
              <Matches list={group.clips} />
            </section>
          ))}
          {!found.results?.length && !found.groups?.length ? <Empty title="Nothing was found.">Use other words, or fewer filters. Only delivered clips are searched.</Empty> : null}
        </>
      ) : null}
    </div>
  );
}

function Matches({ list }: { list: Match[] }) {
  return (
    <ul class="grid">
      {list.slice(0, 100).map((match) => (
        <li key={match.clip_id} class="card">
          <a data-row href={`#/review/${match.video_id}/${match.clip_id}`}>
            <img class="tile" loading="lazy" decoding="async" alt={`Frame ${match.frame ?? match.start_frame} of ${match.title}`} src={stillUrl(match.video_id, match.frame ?? match.start_frame, 120)} />
            <span class="title">{match.title}</span>
          </a>
          <span class="faint">
            {match.start_frame}–{match.end_frame - 1}
            {match.seconds ? ` · ${length(match.seconds)}` : ""}
            {match.matched?.length ? ` · ${match.matched.join(", ")}` : ` · ${match.score.toFixed(2)}`}
          </span>
          {match.snippet ? <span class="snippet">{match.snippet}</span> : null}
          <span class="row">
            <Badge state={match.state} />
            <a href={`#/search?like=${match.clip_id}`}>Alike</a>
          </span>
        </li>
      ))}
    </ul>
  );
}
