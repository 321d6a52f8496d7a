// Finds delivered clips by words, by a picture, by likeness, and groups of near duplicates.

import { batch, signal, useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { call, query, stillUrl } from "../api";
import { Badge, Empty, Loading, Trouble } from "../parts/bits";
import { go, route, tell } from "../store";
import { DELIVERED, length, many, words } from "../words";

/** What the search service answers; ``services/embed/api.py`` has its models. */
interface Match {
  clip_id: string;
  video_id: string;
  title: string;
  state: string;
  start_frame: number | null;
  end_frame: number | null;
  seconds: number | null;
  score: number;
  frame: number | null;
  matched: string[];
  snippet: string | null;
}

interface Answer {
  results?: Match[];
  groups?: { likeness: number; clips: Match[] }[];
  advice?: string | null;
  notice?: string | null;
  next: string | null;
}

/** A question: what it asks for, in words, and how it is put. Its pages are asked for one after another. */
interface Asked {
  what: string;
  path: string;
  picture?: File;
}

const LIMIT = 40;
/** The first question after a rest waits for the model; the service gives up a little earlier than this, and says why. */
const PATIENCE_MS = 75_000;
const FILTERS = ["tag", "state", "min_seconds", "max_seconds", "since", "until", "video_id"];

/** The filters of an address as the service takes them: whole days of where the page is. */
function filtersOf(search: URLSearchParams): Record<string, string | null> {
  const day = (name: string, later: number) => {
    const given = search.get(name);
    const start = new Date(`${given}T00:00`);
    start.setDate(start.getDate() + later);
    return given && !Number.isNaN(start.getTime()) ? start.toISOString() : null;
  };
  return { ...Object.fromEntries(FILTERS.map((name) => [name, search.get(name)])), since: day("since", 0), until: day("until", 1) };
}

export function Search() {
  const { search } = route.value;
  const q = search.get("q") ?? "";
  const like = search.get("like");
  const twins = search.has("duplicates");
  const filters = query(filtersOf(search));
  const answer = useSignal<(Answer & { what: string }) | null>(null);
  const error = useSignal<Error | null>(null);
  const busy = useSignal(false);
  const picture = useSignal<File | null>(null);
  const over = useSignal(false);

  const latest = useRef(0);
  const run = async (asked: Asked, before?: Answer) => {
    const number = ++latest.current;
    busy.value = true;
    error.value = null;
    const path = `${asked.path}${asked.path.includes("?") ? "&" : "?"}${query({ ...filtersOf(search), limit: LIMIT, cursor: before?.next }).slice(1)}`;
    const how = asked.picture ? { method: "POST", body: asked.picture, headers: { "content-type": asked.picture.type } } : {};
    const [found, problem] = await call<Answer>(path, { ...how, within: PATIENCE_MS }).then(
      (found) => [found, null] as const,
      (reason: Error) => [null, reason] as const,
    );
    // Whoever has asked something else meanwhile wants this no more.
    if (number !== latest.current) return;
    batch(() => {
      if (found) {
        const after = <T,>(name: "results" | "groups") => found[name] && ([...(before?.[name] ?? []), ...found[name]] as T);
        answer.value = { ...found, results: after("results"), groups: after("groups"), what: asked.what };
      } else if (!before) answer.value = null;
      error.value = problem;
      busy.value = false;
    });
  };
  const asked = useMemo<Asked | null>(() => {
    if (picture.value) return { what: `like the picture ${picture.value.name}`, path: "/api/search/image", picture: picture.value };
    if (like) return { what: "like the chosen clip", path: `/api/search/similar/${encodeURIComponent(like)}` };
    if (twins) return { what: "near duplicates", path: "/api/search/duplicates" };
    return q ? { what: `for “${q}”`, path: `/api/search${query({ q })}` } : null;
  }, [q, like, twins, picture.value]);
  useLayoutEffect(() => {
    // Another address asks for something else than the picture. Before the page is painted: one given to it then is kept.
    picture.value = null;
  }, [q, like, twins]);
  useEffect(() => {
    if (asked) void run(asked);
    else answer.value = null;
  }, [asked, filters]);
  const byPicture = (files: FileList | null | undefined) => {
    const file = [...(files ?? [])].find(({ type }) => type.startsWith("image/"));
    if (!file) return tell("There is no picture in that; use a JPEG, PNG or WebP file.");
    picture.value = file;
  };
  useLayoutEffect(() => {
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
        key={location.hash}
        class="search"
        role="search"
        onSubmit={(event) => {
          event.preventDefault();
          const given = Object.fromEntries(new FormData(event.currentTarget).entries()) as Record<string, string>;
          const words = given.q?.trim();
          go(`#/search${query({ ...given, q: words, like: words ? null : like, duplicates: twins && !words ? "1" : null })}`);
        }}
      >
        <div class="row">
          <label class="grow">
            <span class="hidden-label">Words</span>
            <input data-first type="search" name="q" maxLength={500} placeholder="What is seen or said in the clip?" defaultValue={q} />
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
        </div>
        <Filters search={search} />
      </form>
      {found?.advice ? <p class="banner">{found.advice}</p> : null}
      {found?.notice ? <p class="banner">{found.notice}</p> : null}
      {busy.value && !found ? <Loading what="matches; the first question after a rest takes longest" /> : null}
      {error.value ? <Trouble error={error.value} again={() => asked && void run(asked, found ?? undefined)} /> : null}
      {!busy.value && !error.value && !found ? (
        <Empty title="Find delivered clips.">
          <p>Write what is seen or said, drop or paste a picture, or ask for clips like another on the deliverables page.</p>
        </Empty>
      ) : null}
      {found ? (
        <>
          <p class="faint row" role="status">
            {shownPicture ? <img class="asked" src={shownPicture} alt="" /> : null}
            {found.next ? "The first " : ""}
            {found.groups ? many(found.groups.length, "group") : many(found.results?.length ?? 0, "clip")} {found.what}
          </p>
          {found.results?.length ? <Matches list={found.results} /> : null}
          {found.groups?.map((group, number) => (
            <section key={number}>
              <h2>{Math.round(group.likeness * 100)} % alike</h2>
              <Matches list={group.clips} />
            </section>
          ))}
          {found.next && asked ? (
            <p>
              <button type="button" disabled={busy.value} onClick={() => void run(asked, found)}>
                More
              </button>
            </p>
          ) : null}
          {!found.results?.length && !found.groups?.length ? <Empty title="Nothing was found.">Use other words, or fewer filters. Only delivered clips are searched.</Empty> : null}
        </>
      ) : null}
    </div>
  );
}

/** Whether a person has unfolded the filters; they stay so over all questions. */
const unfolded = signal<boolean | null>(null);

function Filters({ search }: { search: URLSearchParams }) {
  const given = (name: string) => search.get(name) ?? "";
  const video = search.get("video_id");
  const chosen = FILTERS.filter(given).length;
  // What is chosen counts at once; what is typed counts with Enter or the button.
  const ask = (event: { currentTarget: { form: HTMLFormElement | null } }) => event.currentTarget.form?.requestSubmit();
  return (
    <details class="filters" open={unfolded.value ?? chosen > 0} onToggle={(event) => (unfolded.value = event.currentTarget.open)}>
      <summary>Filters{chosen ? ` (${chosen})` : ""}</summary>
      <div class="row">
        <label>
          Tag <input type="text" class="short" name="tag" maxLength={100} defaultValue={given("tag")} />
        </label>
        <label class="select">
          State
          <select name="state" onChange={ask}>
            <option value="">any</option>
            {DELIVERED.map((state) => (
              <option key={state} value={state} selected={state === given("state")}>
                {words(state)}
              </option>
            ))}
          </select>
        </label>
        <label>
          Seconds from <input type="number" class="number" name="min_seconds" min={0} max={1e6} step="any" defaultValue={given("min_seconds")} />
        </label>
        <label>
          to <input type="number" class="number" name="max_seconds" min={0} max={1e6} step="any" defaultValue={given("max_seconds")} />
        </label>
        <label>
          Delivered from <input type="date" name="since" defaultValue={given("since")} onChange={ask} />
        </label>
        <label>
          to <input type="date" name="until" defaultValue={given("until")} onChange={ask} />
        </label>
        {video ? (
          <label>
            <input type="checkbox" name="video_id" value={video} defaultChecked onChange={ask} /> Only one video
          </label>
        ) : null}
      </div>
    </details>
  );
}

const shown = (match: Match) => match.frame ?? match.start_frame ?? 0;

function Matches({ list }: { list: Match[] }) {
  return (
    <ul class="grid">
      {list.map((match) => (
        <li key={match.clip_id} class="card">
          <a data-row href={`#/review/${match.video_id}/${match.clip_id}`}>
            <img class="tile" loading="lazy" decoding="async" alt={`Frame ${shown(match)} of ${match.title}`} src={stillUrl(match.video_id, shown(match), 120)} />
            <span class="title">{match.title}</span>
          </a>
          <span class="faint">
            {match.start_frame !== null && match.end_frame !== null ? `${match.start_frame}–${match.end_frame - 1}` : ""}
            {match.seconds ? ` · ${length(match.seconds)}` : ""}
            {match.matched.length ? ` · ${match.matched.join(", ")}` : ` · ${match.score.toFixed(2)}`}
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
