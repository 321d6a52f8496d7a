// Small pieces that every page uses.

import type { ComponentChildren } from "preact";
import { action, keysOf, spelt } from "../actions";
import { stillUrl, Unreachable, type Clip, type Media } from "../api";
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
      aria-keyshortcuts={key?.replace(/Key|Digit/g, "")}
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

export function Trouble({ error, again }: { error: Error; again: () => void }) {
  const away = error instanceof Unreachable;
  return (
    <div class="empty trouble" role="alert">
      <p class="empty-title">{away ? "The review service does not answer." : "This could not be shown."}</p>
      <p>{away ? "The page goes on by itself when it is back. If it stays away, look at ./heaters status." : error.message}</p>
      <button type="button" onClick={again}>
        Try again
      </button>
    </div>
  );
}

/** The small picture of a frame out of the sprite sheets, or an exact still where there are none. */
export function Tile({ media, owner, frame, label }: { media: Media | null; owner: string; frame: number; label?: string }) {
  const map = media?.sprite_map;
  const named = label ? { role: "img" as const, "aria-label": label } : { "aria-hidden": true as const };
  if (!map?.tiles || !media) return <img class="tile" loading="lazy" decoding="async" alt={label ?? ""} src={stillUrl(owner, frame, 90)} />;
  const tile = Math.min(map.tiles - 1, Math.floor(frame / map.every));
  const each = map.columns * map.rows;
  const sheet = Math.floor(tile / each);
  const place = tile % each;
  const rows = Math.min(map.rows, Math.ceil((map.tiles - sheet * each) / map.columns));
  const share = (at: number, of: number) => (of > 1 ? (at / (of - 1)) * 100 : 0);
  return (
    <div
      class="tile"
      {...named}
      style={{
        backgroundImage: `url("${media.sprites[sheet]?.url}")`,
        backgroundSize: `${map.columns * 100}% ${rows * 100}%`,
        backgroundPosition: `${share(place % map.columns, map.columns)}% ${share(Math.floor(place / map.columns), rows)}%`,
        aspectRatio: `${map.tile_width} / ${map.tile_height}`,
      }}
    />
  );
}

export function middle(clip: { start_frame: number; end_frame: number }): number {
  return Math.floor((clip.start_frame + clip.end_frame - 1) / 2);
}

export function Certainty({ clip }: { clip: Clip }) {
  const percent = Math.round(clip.confidence * 100);
  return (
    <span class={`certainty ${percent < 60 ? "low" : ""}`} title="How sure its edges are">
      {percent} %
    </span>
  );
}
