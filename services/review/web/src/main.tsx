// The page's frame: who is here, where one can go, what is live; and the start of everything.

import { useSignal, useSignalEffect } from "@preact/signals";
import { render } from "preact";
import { call, Problem, type Session } from "./api";
import { resume, waiting } from "./decisions";
import { listenToKeys } from "./keys";
import { listen } from "./live";
import { Do } from "./parts/bits";
import { Overlays, Toasts } from "./parts/overlays";
import { Deliverables } from "./pages/deliverables";
import { Ops } from "./pages/ops";
import { Queue } from "./pages/queue";
import { Review } from "./pages/review";
import { Search } from "./pages/search";
import { Submit } from "./pages/submit";
import { VideoPage } from "./pages/video";
import { board, link, needsToken, route, session, setTheme, theme, type PageName } from "./store";
import { many } from "./words";
import "./style.css";

const NAV: [PageName, string][] = [
  ["queue", "Queue"],
  ["review", "Review"],
  ["video", "Video"],
  ["search", "Search"],
  ["deliverables", "Deliverables"],
  ["submit", "Submit"],
  ["ops", "Operations"],
];

const VIEWS: Record<PageName, () => preact.JSX.Element> = {
  queue: Queue,
  review: Review,
  video: VideoPage,
  search: Search,
  deliverables: Deliverables,
  submit: Submit,
  ops: Ops,
};

function App() {
  const { page } = route.value;
  useSignalEffect(() => {
    const name = NAV.find(([known]) => known === route.value.page)?.[1] ?? "";
    document.title = `${board.value && ["review", "video"].includes(route.value.page) ? `${board.value.video.title} – ` : ""}${name} – Heaters`;
  });
  if (needsToken.value) return <SignIn />;
  const View = VIEWS[page];
  return (
    <>
      <a class="skip-link" href="#main" onClick={(event) => (event.preventDefault(), document.querySelector<HTMLElement>("main")?.focus())}>
        To the content
      </a>
      <header class="top">
        <a class="brand" href="#/queue">
          Heaters
        </a>
        <nav aria-label="Pages">
          {NAV.map(([name, title]) => {
            const id = board.value?.video.id;
            const needsVideo = name === "review" || name === "video";
            if (needsVideo && !id && page !== name) return null;
            return (
              <a key={name} href={needsVideo ? `#/${name}/${id ?? route.value.id ?? ""}` : `#/${name}`} aria-current={page === name ? "page" : undefined}>
                {title}
              </a>
            );
          })}
        </nav>
        <span class={`link ${link.value}`} role="status">
          {link.value === "live" ? "Live" : link.value === "lost" ? "Connection lost; trying again" : "Connecting"}
        </span>
        {session.value?.auth === "token" ? (
          <button type="button" class="quiet" onClick={signOut} title={`${session.value.role}; sign out`}>
            {session.value.name}
          </button>
        ) : null}
        <Do id="palette">Commands</Do>
        <Do id="help" glyph>
          ?
        </Do>
        <Do id="theme" glyph>
          {theme.value === "auto" ? "◐" : theme.value === "dark" ? "☾" : "☀"}
        </Do>
      </header>
      {link.value === "lost" ? (
        <p class="banner offline" role="alert">
          The review service does not answer. What you decide now is kept and sent as soon as it is back
          {waiting.value.length ? `: ${many(waiting.value.length, "decision")} so far` : ""}.
        </p>
      ) : null}
      <main id="main" tabIndex={-1} class={`at-${page}`}>
        <View key={page} />
      </main>
      <Overlays />
      <Toasts />
    </>
  );
}

function SignIn() {
  const token = useSignal("");
  const problem = useSignal("");
  return (
    <main class="sign-in">
      <h1>Heaters</h1>
      <form
        onSubmit={async (event) => {
          event.preventDefault();
          try {
            session.value = await call<Session>("/api/session", { json: { token: token.value.trim() } });
            needsToken.value = false;
          } catch (error) {
            problem.value = (error as Error).message;
          }
        }}
      >
        <label>
          Token
          <input ref={(input) => input?.focus()} type="password" autocomplete="current-password" required value={token.value} onInput={(event) => (token.value = event.currentTarget.value)} />
        </label>
        <button type="submit" class="primary">
          Sign in
        </button>
        <p class="faint">
          An operator makes tokens with <code>./heaters token create NAME</code>.
        </p>
        {problem.value ? (
          <p class="bad" role="alert">
            {problem.value}
          </p>
        ) : null}
      </form>
    </main>
  );
}

async function signOut(): Promise<void> {
  await call("/api/session", { method: "DELETE" }).catch(() => {});
  // What the page knew of this person goes with it.
  location.reload();
}

async function greet(): Promise<void> {
  try {
    session.value = await call<Session>("/api/session");
  } catch (error) {
    if (error instanceof Problem && error.status === 401) needsToken.value = true;
  }
}

setTheme(theme.value);
addEventListener("signed-out", () => (needsToken.value = true));
await greet();
render(<App />, Object.assign(document.getElementById("app")!, { textContent: "" }));
listenToKeys();
listen();
resume();
