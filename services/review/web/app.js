// The review page: a list of videos, the clips of one, and what to do with them. It keeps no truth of its own: after each
// live event it asks for the present state and draws that.

const $ = (id) => document.getElementById(id);
const state = { videos: new Map(), next: null, selected: null, video: null, media: null, toast: null };

async function call(path, body) {
  const how = body === undefined ? {} : { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(path, how);
  const data = await answer.json().catch(() => ({ detail: answer.statusText }));
  if (!answer.ok) throw new Error(data.detail ?? answer.statusText);
  return data;
}

function make(tag, properties = {}, ...children) {
  const { role, label, current, ...rest } = properties;
  const element = Object.assign(document.createElement(tag), rest);
  if (role) element.setAttribute("role", role);
  if (label) element.setAttribute("aria-label", label);
  if (current !== undefined) element.setAttribute("aria-current", current);
  element.append(...children);
  return element;
}

const words = (name) => name.replaceAll("_", " ");
const isGood = (name) => ["ready", "embedded"].includes(name);
const isBad = (name) => name.endsWith("_failed") || name === "rejected";
const stateMark = (name) => make("span", { className: `state ${isGood(name) ? "good" : isBad(name) ? "bad" : ""}` }, words(name));

function seconds(frames, rate) {
  const [number, unit] = (rate ?? "0/1").split("/").map(Number);
  return number ? `${((frames * unit) / number).toFixed(2)} s` : `${frames} frames`;
}

function bars(progress) {
  return progress.map((told) => {
    const bar = make("progress", { label: `${told.stage} ${told.kind}` });
    if (told.fraction !== null) bar.value = told.fraction;
    const left = told.eta_seconds !== null ? `, ${Math.ceil(told.eta_seconds)} s left` : "";
    const name = [told.stage, told.kind, told.phase].filter(Boolean).join(" ");
    return make("label", { className: "meta" }, `${name}${left}`, bar);
  });
}

function drawVideos() {
  const rows = [...state.videos.values()].map((video) => {
    const counts = Object.entries(video.clip_states).map(([name, count]) => `${count} ${words(name)}`).join(", ");
    const current = video.id === state.selected;
    const button = make("button", { current, onclick: () => select(video.id) },
      make("span", {}, video.title || "Untitled"), stateMark(video.state), make("span", { className: "meta" }, counts), ...bars(video.progress));
    return make("li", {}, button);
  });
  const focused = [...$("videos").querySelectorAll("button")].indexOf(document.activeElement);
  $("videos").replaceChildren(...rows);
  if (focused >= 0) $("videos").querySelectorAll("button")[focused]?.focus();
  $("no-videos").hidden = rows.length > 0;
  $("more").hidden = state.next === null;
}

function picture(clip) {
  const label = `Frames ${clip.start_frame} to ${clip.end_frame - 1}`;
  for (const bundle of clip.deliverables) {
    const poster = bundle.files.find((file) => file.role === "poster");
    if (poster) return make("img", { className: "picture", alt: label, loading: "lazy", src: fileAddress(clip, bundle, poster.name) });
  }
  const frame = make("div", { className: "picture", role: "img", label });
  const map = state.media?.sprite_map;
  if (!map?.tiles) return frame;
  const tile = Math.min(map.tiles - 1, Math.floor((clip.start_frame + clip.end_frame) / 2 / map.every));
  const place = tile % (map.columns * map.rows);
  const sheet = state.media.sprites[Math.floor(tile / (map.columns * map.rows))];
  const onSheet = Math.min(map.rows, Math.ceil((map.tiles - (tile - place)) / map.columns));
  const share = (at, of) => (of > 1 ? (at / (of - 1)) * 100 : 0);
  Object.assign(frame.style, {
    aspectRatio: `${map.tile_width} / ${map.tile_height}`,
    backgroundImage: `url("${sheet.url}")`,
    backgroundSize: `${map.columns * 100}% ${onSheet * 100}%`,
    backgroundPosition: `${share(place % map.columns, map.columns)}% ${share(Math.floor(place / map.columns), onSheet)}%`,
  });
  return frame;
}

const fileAddress = (clip, bundle, name) => `/api/clips/${clip.id}/deliverables/${bundle.profile}/${encodeURIComponent(name)}`;

function drawClip(clip, number) {
  const name = `Clip ${number + 1}`;
  const pending = clip.state === "pending_review";
  const act = (command) => () => edit(command, [clip]);
  const files = clip.deliverables.flatMap((bundle) =>
    [{ name: "manifest.json" }, ...bundle.files].map((file) => make("a", { href: fileAddress(clip, bundle, file.name), target: "_blank", rel: "noopener" }, file.name)));
  const card = make("li", { tabIndex: 0, label: `${name}, ${words(clip.state)}` },
    picture(clip),
    make("strong", {}, name), stateMark(clip.state),
    make("span", { className: "meta" }, `frames ${clip.start_frame}–${clip.end_frame - 1}, ${seconds(clip.end_frame - clip.start_frame, state.video.rate)}`),
    make("div", { className: "buttons" },
      make("button", { disabled: !pending, label: `Approve ${name}`, onclick: act("approve") }, "Approve"),
      make("button", { disabled: !pending, label: `Skip ${name}`, onclick: act("skip") }, "Skip"),
      make("button", { hidden: !clip.last_edit, label: `Undo the last edit of ${name}`, onclick: () => undo(clip.last_edit) }, "Undo")),
    make("div", { className: "files" }, ...files));
  if (clip.error) card.append(make("p", { className: "error" }, `${clip.error.message} (${clip.error.code})`));
  card.dataset.clip = clip.id;
  card.onkeydown = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key.toLowerCase();
    if (key === "a" && pending) edit("approve", [clip], card.nextElementSibling);
    else if (key === "s" && pending) edit("skip", [clip], card.nextElementSibling);
    else if (key === "u" && clip.last_edit) undo(clip.last_edit);
  };
  return card;
}

function drawVideo() {
  const video = state.video;
  $("video").hidden = !video;
  if (!video) return;
  $("title").textContent = video.title || "Untitled";
  const length = video.frames ? `${video.frames} frames at ${video.rate}, ${video.duration.toFixed(2)} s` : "not measured yet";
  $("facts").replaceChildren(stateMark(video.state), ` · ${length}`, video.duplicate_of ? " · the same content as an earlier video, whose clips these are" : "");
  $("error").hidden = !video.error;
  $("error").textContent = video.error ? `${video.error.message} (${video.error.code})` : "";
  $("progress").replaceChildren(...bars(video.progress));
  const focused = document.activeElement?.closest?.("[data-clip]")?.dataset.clip;
  $("clips").replaceChildren(...video.clips.map(drawClip));
  if (focused) $("clips").querySelector(`[data-clip="${focused}"]`)?.focus();
  $("approve-rest").disabled = !video.clips.some((clip) => clip.state === "pending_review");
}

async function select(id) {
  if (state.selected !== id) Object.assign(state, { selected: id, video: null, media: null });
  location.hash = id;
  drawVideos();
  await refresh(id);
}

async function refresh(id) {
  const video = await call(`/api/videos/${id}`);
  state.videos.set(id, video);
  drawVideos();
  if (id !== state.selected) return;
  state.video = video;
  const owner = video.duplicate_of ?? id;
  const stale = !state.media || state.media.until < Date.now();
  if (stale && video.frames) {
    state.media = await call(`/api/videos/${owner}/media`).catch(() => null);
    if (state.media) state.media.until = Date.now() + state.media.expires_in * 900;
  }
  drawVideo();
}

async function edit(command, clips, following) {
  const focus = following?.dataset.clip;
  try {
    const body = { command, clips: clips.map((clip) => clip.id), versions: clips.map((clip) => clip.version) };
    const result = await call(`/api/videos/${clips[0].video_id}/edits`, body);
    if (result.edit) toast(`${words(command)}: ${clips.length} clip${clips.length > 1 ? "s" : ""}.`, result.edit);
  } catch (error) {
    toast(error.message);
  }
  await refresh(state.selected);
  if (focus) $("clips").querySelector(`[data-clip="${focus}"]`)?.focus();
}

async function undo(id) {
  try {
    await call(`/api/edits/${id}/undo`, {});
    toast("Undone.");
  } catch (error) {
    toast(error.message);
  }
  await refresh(state.selected);
}

function toast(text, made) {
  clearInterval(state.toast);
  const until = made ? new Date(made.release_at).getTime() : Date.now() + 6000;
  const draw = () => {
    const left = Math.ceil((until - Date.now()) / 1000);
    $("toast").hidden = left <= 0;
    $("toast-text").textContent = made ? `${text} Published in ${left} s.` : text;
    if (left <= 0) clearInterval(state.toast);
  };
  $("toast-undo").hidden = !made;
  $("toast-undo").onclick = () => undo(made.id);
  draw();
  state.toast = setInterval(draw, 1000);
}

async function loadVideos(cursor) {
  const page = await call(`/api/videos?limit=50${cursor ? `&cursor=${cursor}` : ""}`);
  for (const video of page.videos) state.videos.set(video.id, video);
  state.next = page.next;
  drawVideos();
}

function listen() {
  const changed = new Set();
  let timer = null;
  const later = (id) => {
    if (id) changed.add(id);
    timer ??= setTimeout(async () => {
      timer = null;
      const known = [...changed].filter((video) => state.videos.has(video));
      const isNew = known.length < changed.size;
      changed.clear();
      if (isNew) state.videos.clear();
      if (isNew) await loadVideos().catch(() => {});
      for (const video of new Set([...known, ...(isNew && state.selected ? [state.selected] : [])])) await refresh(video).catch(() => {});
    }, 120);
  };
  const source = new EventSource("/api/stream");
  source.addEventListener("hello", () => { $("link").textContent = "Live"; later(state.selected); });
  source.addEventListener("change", (event) => later(JSON.parse(event.data).video_id));
  source.addEventListener("progress", (event) => later(JSON.parse(event.data).video_id));
  source.onerror = () => { $("link").textContent = "Connection lost; trying again…"; };
}

$("more").onclick = () => loadVideos(state.next);
$("approve-rest").onclick = () => edit("approve", state.video.clips.filter((clip) => clip.state === "pending_review").slice(0, 5000));
await loadVideos().catch((error) => toast(error.message));
const wanted = location.hash.slice(1) || state.videos.keys().next().value;
if (wanted) await select(wanted).catch((error) => toast(error.message));
listen();
