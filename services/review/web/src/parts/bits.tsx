// Small pieces that every page uses.

import type { ComponentChildren } from "preact";
import { action } from "../actions";
import { middle, stillUrl, Unreachable, type Clip, type Media } from "../api";
import { keysOf, spelt } from "../keys";
import { placeOf, tileOf } from "../sprites";
import { tone, words } from "../words";

export function Badge({ state }: { state: string }) {
  return <span class={`badge ${tone(state)}`}>{words(state)}</span>;
}

/** A button of the action table: its title, its key, and nothing of its own. */
export function Do({ id, children, wide, glyph, pressed, disabled }: { id: string; children?: ComponentChildren; wide?: boolean; glyph?: boolean; pressed?: boolean; disabled?: boolean }) {
  const one = action(id);
  const keys = keysOf(one);
  const key = keys[0];
  return (
    <button
      type="button"
      class={`do ${wide ? "wide" : ""} do-${id}`}
      data-action={id}
      title={`${one.title}${key ? ` (${keys.map(spelt).join(", ")})` : ""}`}
      aria-label={glyph ? one.title : undefined}
      aria-keyshortcuts={key?.replace("Ctrl", "Control").replace(/Key|Digit/, "")}
      aria-pressed={pressed}
      disabled={disabled || !one.when()}
      onClick={(event) => {
        // A pointer's click leaves the keys to the page.
        if (event.detail > 0) event.currentTarget.blur();
        void one.run();
      }}
    >
      {children ?? one.title}
      {wide && key ? <kbd aria-hidden="true">{spelt(key)}</kbd> : null}
    </button>
  );
}

export function Bar({ label, value, note }: { label: string; value: number | null; note?: string }) {
  return (
    <div class="bar">
      <span>{label}</span>
      {value === null ? <progress aria-label={label} /> : <progress aria-label={label} value={value} />}
      <span class="faint">{note ?? (value === null ? "" : `${Math.round(value * 100)} %`)}</span>
    </div>
  );
}

/** What a page shows when it has nothing to show. */
export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      <div>{children}</div>
    </div>
  );
}

export function Loading({ what }: { what: string }) {
  return (
    <div class="empty" role="status">
      <p class="faint">Loading {what}…</p>
    </div>
  );
}

/** What the pages of one video show when none is named. */
export function NoVideo() {
  return (
    <Empty title="No video is open.">
      <p>
        Choose one in the <a href="#/queue">queue</a>.
      </p>
    </Empty>
  );
}

export function Trouble({ error, again }: { error: Error; again: () => void }) {
  const away = error instanceof Unreachable;
  return (
    <div class="empty trouble" role="alert">
      <p class="empty-title">{away ? "The review service does not answer." : "This could not be shown."}</p>
      <p>{away ? "The page goes on by itself when it is back. If it stays away, look at ./heaters status." : error.message}</p>
      <button type="button" onClick={again}>
        Try again
      </button>{" "}
      {away ? null : (
        <a class="button" href="#/queue">
          To the queue
        </a>
      )}
    </div>
  );
}

/** The small picture of a clip out of the sprite sheets; an exact still where they have none that was taken in it. */
export function Tile({ media, clip }: { media: Media | null; clip: Clip }) {
  if (!media) return <div class="tile" aria-hidden="true" />;
  const map = media.sprite_map;
  const frame = middle(clip);
  const tile = map?.tiles ? tileOf(map, frame, clip.start_frame, clip.end_frame) : null;
  // Of one video all pictures have one shape, whether they are cut from a sprite or not.
  const shape = map?.tiles ? { aspectRatio: `${map.tile_width} / ${map.tile_height}` } : {};
  if (!map || tile === null) return <img class="tile" style={shape} loading="lazy" decoding="async" alt="" src={stillUrl(clip.video_id, frame, 90)} />;
  const { url, column, row, rows } = placeOf(media, map, tile);
  const share = (at: number, of: number) => (of > 1 ? (at / (of - 1)) * 100 : 0);
  return (
    <div
      class="tile"
      aria-hidden="true"
      style={{
        backgroundImage: `url("${url}")`,
        backgroundSize: `${map.columns * 100}% ${rows * 100}%`,
        backgroundPosition: `${share(column, map.columns)}% ${share(row, rows)}%`,
        ...shape,
      }}
    />
  );
}

export function Certainty({ clip }: { clip: Clip }) {
  const percent = Math.round(clip.confidence * 100);
  return (
    <span class={`certainty ${percent < 60 ? "low" : ""}`} title="How sure its edges are">
      {percent} %
    </span>
  );
}
