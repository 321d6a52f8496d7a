// The clips of a video, as many as there are: only the rows in sight exist.

import { computed, useSignal, useSignalEffect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { Clip } from "../api";
import { alike, anchor, clips, current, filter, listed, media, narrowing, openClip, order, selected, undecided, type Filter } from "../store";
import { lasts, many } from "../words";
import { Badge, Certainty, Do, Tile } from "./bits";

const ROW = 62;
const SPARE = 4;
const FILTERS: [Filter, string][] = [
  ["all", "All"],
  ["pending", "Undecided"],
  ["approved", "Approved"],
  ["skipped", "Skipped"],
  ["failed", "Failed"],
];

const opened = computed(() => current.value?.id);
const likeWhich = computed(() => alike.value?.clip);

export function ClipList() {
  const box = useRef<HTMLDivElement>(null);
  const top = useSignal(0);
  const height = useSignal(600);
  const all = listed.value;
  const first = Math.max(0, Math.floor(top.value / ROW) - SPARE);
  const last = Math.min(all.length, Math.ceil((top.value + height.value) / ROW) + SPARE);

  useEffect(() => {
    const watch = new ResizeObserver(() => (height.value = box.current?.clientHeight ?? 600));
    watch.observe(box.current!);
    return () => watch.disconnect();
  }, []);
  // The list goes to the clip that is opened, and where it is put in another order; what others decide leaves it where it is.
  useSignalEffect(() => {
    void [order.value, filter.value, narrowing.value, likeWhich.value];
    const id = opened.value;
    const place = listed.peek().findIndex((clip) => clip.id === id);
    const area = box.current;
    if (place < 0 || !area) return;
    const at = place * ROW;
    if (at < area.scrollTop + ROW) area.scrollTop = at - ROW;
    else if (at + 2 * ROW > area.scrollTop + area.clientHeight) area.scrollTop = at + 2 * ROW - area.clientHeight;
  });

  const choose = (clip: Clip, event: MouseEvent) => {
    if (event.shiftKey) {
      const from = all.findIndex((other) => other.id === (anchor.value ?? current.value?.id));
      const to = all.indexOf(clip);
      selected.value = new Set(all.slice(Math.min(from, to), Math.max(from, to) + 1).map((other) => other.id));
    } else if (event.ctrlKey || event.metaKey) toggle(clip);
    else {
      anchor.value = clip.id;
      openClip(clip.id);
    }
  };
  const toggle = (clip: Clip) => {
    const set = new Set(selected.value);
    if (!set.delete(clip.id)) set.add(clip.id);
    selected.value = set;
    anchor.value = clip.id;
  };

  return (
    <section class="clips" aria-label="Clips">
      <div class="clips-head">
        <div class="row">
          <label class="select">
            <span class="hidden-label">Show</span>
            <select value={filter.value} onChange={(event) => (filter.value = event.currentTarget.value as Filter)}>
              {FILTERS.map(([name, title]) => (
                <option key={name} value={name}>
                  {title}
                </option>
              ))}
            </select>
          </label>
          <Do id="order" pressed={order.value === "uncertain"}>
            Least certain first
          </Do>
        </div>
        <input
          type="text"
          class="narrowing"
          maxLength={200}
          aria-label="Show only clips with this tag, this word in their note, or this length"
          placeholder="tag, note, <2 or >10 seconds"
          value={narrowing.value}
          onInput={(event) => (narrowing.value = event.currentTarget.value)}
        />
        <div class="row">
          <Do id="approve-rest" disabled={!undecided.value}>
            Approve the rest
          </Do>
          <Do id="like" pressed={alike.value !== null}>
            Alike
          </Do>
          <Do id="history">History</Do>
        </div>
      </div>
      <div
        ref={box}
        class="clips-rows"
        role="listbox"
        aria-label="Clips of this video"
        aria-multiselectable="true"
        aria-activedescendant={current.value && all.includes(current.value) ? `clip-${current.value.id}` : undefined}
        tabIndex={0}
        onScroll={(event) => (top.value = event.currentTarget.scrollTop)}
      >
        <div role="presentation" style={{ height: `${all.length * ROW}px`, position: "relative" }}>
          {all.slice(first, last).map((clip, place) => (
            <Row key={clip.id} clip={clip} at={first + place} onClick={choose} onTick={toggle} />
          ))}
        </div>
        {all.length ? null : <p class="faint pad">No clip passes this filter.</p>}
      </div>
      {/* Below the rows, so that none moves away from under the pointer. */}
      {alike.value ? <Alike /> : null}
      {selected.value.size ? (
        <div class="row chosen" role="status">
          <strong>{selected.value.size} chosen</strong>
          <Do id="merge-chosen">Merge</Do>
          <Do id="group">Group</Do>
          <Do id="choose-none">None</Do>
        </div>
      ) : null}
    </section>
  );
}

function Alike() {
  const { clip, scores } = alike.value!;
  const left = clips.value.filter(({ id }) => !scores.has(id)).length;
  const others = listed.value.filter(({ id }) => id !== clip.id).length;
  return (
    <div class="row chosen" role="status">
      <span class="grow">
        <strong>
          Like {clip.start_frame.toLocaleString("en")}–{(clip.end_frame - 1).toLocaleString("en")}:
        </strong>{" "}
        {left ? `comparing, ${many(left, "clip")} to go` : others ? `${many(others, "clip")}, most alike first` : "no other clip looks like it"}
      </span>
      <Do id="like">All clips</Do>
    </div>
  );
}

function Row({ clip, at, onClick, onTick }: { clip: Clip; at: number; onClick: (clip: Clip, event: MouseEvent) => void; onTick: (clip: Clip) => void }) {
  const isOpen = current.value?.id === clip.id;
  const isChosen = selected.value.has(clip.id);
  return (
    <div
      id={`clip-${clip.id}`}
      class={`clip-row ${isOpen ? "open" : ""} ${isChosen ? "chosen" : ""}`}
      role="option"
      aria-selected={isChosen || isOpen}
      style={{ top: `${at * ROW}px`, height: `${ROW}px` }}
      data-clip={clip.id}
      onClick={(event) => onClick(clip, event)}
    >
      <span
        class={`tick ${isChosen ? "on" : ""}`}
        title="Choose this clip"
        onClick={(event) => {
          event.stopPropagation();
          onTick(clip);
        }}
      />
      <Tile media={media.value} clip={clip} />
      <span class="clip-text">
        <span>
          <strong>{clip.start_frame.toLocaleString("en")}</strong>–{(clip.end_frame - 1).toLocaleString("en")}
          {clip.grouped_with.length ? (
            <span title="Grouped with other clips">
              {" "}
              <span aria-hidden="true">◫</span>
              <span class="hidden-label">grouped</span>
            </span>
          ) : null}
          {clip.note ? <span title={clip.note}> ✎</span> : null}
        </span>
        <span class="faint">
          {lasts(clip)} · {alike.value ? <span title="How alike it looks">{Math.round((alike.value.scores.get(clip.id) ?? 0) * 100)} %</span> : <Certainty clip={clip} />}
        </span>
      </span>
      <Badge state={clip.state} />
    </div>
  );
}
