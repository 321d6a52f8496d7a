// What lies over a page: messages, help, the palette, the history, a question.

import { signal, useSignal, useSignalEffect } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { ACTIONS, verdict, type Action } from "../actions";
import { about, past, undo } from "../decisions";
import { assign, holderOf, isChanged, keysOf, pressed, resetKeys, spelt } from "../keys";
import { dropToast, overlay, question, route, toasts, videoEdits, type Toast } from "../store";
import { ago } from "../words";
import { Profiles } from "./profiles";

export function Toasts() {
  const now = useSignal(Date.now());
  useSignalEffect(() => {
    if (!toasts.value.length) return;
    now.value = Date.now();
    const timer = setInterval(() => {
      now.value = Date.now();
      for (const toast of toasts.value) if (toast.until <= Date.now()) dropToast(toast.id);
    }, 500);
    return () => clearInterval(timer);
  });
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.value.map((toast) => (
        <One key={toast.id} toast={toast} now={now.value} />
      ))}
    </div>
  );
}

function One({ toast, now }: { toast: Toast; now: number }) {
  const left = Math.max(0, Math.ceil((toast.until - now) / 1000));
  return (
    <div class={`toast ${toast.tone}`}>
      <span>{toast.text}</span>
      {toast.edit ? (
        <>
          <span class="faint" aria-hidden="true">
            told to the world in {left} s
          </span>
          <button type="button" data-undo onClick={() => (dropToast(toast.id), void undo(toast.edit!))}>
            Undo{route.value.page === "review" ? <kbd>Z</kbd> : null}
          </button>
        </>
      ) : null}
      <button type="button" class="quiet" aria-label="Close this message" onClick={() => dropToast(toast.id)}>
        ×
      </button>
    </div>
  );
}

function Dialog({ title, children }: { title: string; children: ComponentChildren }) {
  const box = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = box.current!;
    const before = document.activeElement as HTMLElement | null;
    dialog.showModal();
    dialog.querySelector<HTMLElement>("[data-first]")?.focus();
    return () => {
      dialog.close();
      before?.focus?.();
    };
  }, []);
  return (
    <dialog
      ref={box}
      aria-label={title}
      onCancel={() => (overlay.value = null)}
      onClick={(event) => {
        if (event.target === box.current) overlay.value = null;
      }}
    >
      <div class="dialog">
        <div class="dialog-head">
          <h2>{title}</h2>
          <button type="button" class="quiet" aria-label="Close" onClick={() => (overlay.value = null)}>
            ×
          </button>
        </div>
        {children}
      </div>
    </dialog>
  );
}

export function Overlays() {
  switch (overlay.value) {
    case "help":
      return <Help />;
    case "palette":
      return <Palette />;
    case "history":
      return <History />;
    case "text":
      return <Ask />;
    case "profiles":
      return <ApproveAs />;
    default:
      return null;
  }
}

function Keys({ one }: { one: Action }) {
  return (
    <span class="keys">
      {keysOf(one).map((key) => (
        <kbd key={key}>{spelt(key)}</kbd>
      ))}
    </span>
  );
}

/** All actions with their keys, and a way to choose others. */
function Help() {
  const groups = [...new Set(ACTIONS.map((one) => one.group))];
  const waits = useSignal<Action | null>(null);
  const clash = useSignal<{ keys: string[]; holder: Action } | null>(null);
  const refused = useSignal("");
  const focusOn = (one: Action) => document.querySelector<HTMLElement>(`[data-keys="${one.id}"]`)?.focus();
  const choose = (one: Action | null) => {
    const before = waits.value;
    waits.value = one;
    clash.value = null;
    refused.value = "";
    const shown = one ?? before;
    if (shown) focusOn(shown);
  };
  const give = (one: Action, keys: string[]) => {
    const key = keys.find((key) => holderOf(key, one));
    waits.value = one;
    clash.value = key ? { keys, holder: holderOf(key, one)! } : null;
    if (key) return;
    assign(one, keys);
    choose(null);
  };
  const listen = (event: KeyboardEvent) => {
    const one = waits.value;
    if (!one || (clash.value && event.code !== "Escape")) return;
    event.preventDefault();
    event.stopPropagation();
    const key = pressed(event);
    if (event.code === "Escape") choose(null);
    else if (event.code === "Tab") refused.value = "Tab leads from button to button.";
    else if (key) give(one, [key]);
  };
  return (
    <Dialog title="Keys and help">
      <div class="keys-and-help" onKeyDownCapture={listen}>
        <div class="row help-head" role="status">
          {clash.value && waits.value ? (
            <>
              <span class="bad">
                {spelt(clash.value.keys.find((key) => holderOf(key, waits.value!)) ?? "")} is the key of “{clash.value.holder.title}”.
              </span>
              <button type="button" ref={(button) => button?.focus()} onClick={() => (assign(waits.value!, clash.value!.keys), choose(null))}>
                Take it for “{waits.value.title}”
              </button>
              <button type="button" onClick={() => choose(waits.value)}>
                Another key
              </button>
            </>
          ) : waits.value ? (
            <span>
              {refused.value} Press the key for “{waits.value.title}”. Esc leaves it as it is.
            </span>
          ) : (
            <>
              <span class="faint grow">Choose a key to change it. Whatever has none is in the list of commands. Hold the key for playing and press one for either direction: single frames.</span>
              {isChanged() ? (
                <button type="button" data-reset onClick={resetKeys}>
                  Reset all keys
                </button>
              ) : null}
            </>
          )}
        </div>
        <div class="help" tabIndex={0} data-first>
          {groups.map((group) => (
            <section key={group}>
              <h3>{group}</h3>
              <dl>
                {ACTIONS.filter((one) => one.group === group).map((one) => (
                  <div key={one.id} class={waits.value === one ? "waits" : ""}>
                    <dt>{one.title}</dt>
                    <dd>
                      {isChanged(one) ? (
                        <button type="button" class="quiet" data-reset={one.id} title={`Back to ${one.keys.map(spelt).join(", ")}`} aria-label={`Reset the key of ${one.title}`} onClick={() => give(one, one.keys)}>
                          ↺
                        </button>
                      ) : null}
                      <button type="button" class="quiet" data-keys={one.id} title={`Change the key of ${one.title}`} aria-label={`Change the key of ${one.title}: ${keysOf(one).map(spelt).join(", ") || "none"}`} onClick={() => choose(one)}>
                        {waits.value === one ? "…" : keysOf(one).length ? <Keys one={one} /> : "none"}
                      </button>
                    </dd>
                  </div>
                ))}
              </dl>
            </section>
          ))}
        </div>
      </div>
    </Dialog>
  );
}

function Palette() {
  const text = useSignal("");
  const at = useSignal(0);
  const parts = text.value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = ACTIONS.filter((one) => one.id !== "palette" && one.when() && parts.every((part) => `${one.title} ${one.group}`.toLowerCase().includes(part)));
  const place = Math.min(at.value, Math.max(0, found.length - 1));
  const run = (one: Action) => {
    overlay.value = null;
    // The dialog gives the focus back first.
    setTimeout(() => void one.run(), 0);
  };
  return (
    <Dialog title="Commands">
      <input
        data-first
        type="text"
        role="combobox"
        aria-label="Command"
        aria-expanded="true"
        aria-controls="commands"
        aria-activedescendant={found[place] ? `command-${found[place].id}` : undefined}
        placeholder="What do you want to do?"
        value={text.value}
        onInput={(event) => {
          text.value = event.currentTarget.value;
          at.value = 0;
        }}
        onKeyDown={(event) => {
          if (event.isComposing) return;
          if (event.code === "ArrowDown") at.value = Math.min(found.length - 1, place + 1);
          else if (event.code === "ArrowUp") at.value = Math.max(0, place - 1);
          else if (event.code === "Enter" && found[place]) run(found[place]);
          else return;
          event.preventDefault();
        }}
      />
      <div class="palette" id="commands" role="listbox" aria-label="Commands" tabIndex={-1}>
        {found.map((one, number) => (
          <div key={one.id} id={`command-${one.id}`} role="option" aria-selected={number === place} class={number === place ? "open" : ""} data-command={one.id} onClick={() => run(one)}>
            <span>{one.title}</span>
            <Keys one={one} />
          </div>
        ))}
      </div>
      {found.length ? null : <p class="faint">No command is called so.</p>}
    </Dialog>
  );
}

function History() {
  return (
    <Dialog title="History of this video">
      <ol class="history" tabIndex={0} data-first aria-label="Edits, newest first">
        {videoEdits.value.map((edit) => (
          <li key={edit.id}>
            <span>
              <strong>{past(edit.kind)}</strong> {about(edit)} <span class="faint">by {edit.by}, {ago(edit.made_at)}</span>
            </span>
            {edit.undone_by ? (
              <span class="faint">taken back</span>
            ) : edit.kind !== "undo" ? (
              <button type="button" onClick={() => ((overlay.value = null), void undo(edit))}>
                Undo
              </button>
            ) : null}
          </li>
        ))}
      </ol>
      {videoEdits.value.length ? null : <p class="faint">Nobody has decided anything here yet.</p>}
    </Dialog>
  );
}

function Ask() {
  const asked = question.value;
  const text = useSignal(asked?.value ?? "");
  if (!asked) return null;
  return (
    <Dialog title={asked.title}>
      <form
        class="row"
        onSubmit={(event) => {
          event.preventDefault();
          overlay.value = null;
          asked.done(text.value);
        }}
      >
        <label class="grow">
          <span class="hidden-label">{asked.label}</span>
          <input data-first type="text" maxLength={1000} placeholder={asked.label} value={text.value} onInput={(event) => (text.value = event.currentTarget.value)} />
        </label>
        <button type="submit" class="primary">
          {asked.verb}
        </button>
      </form>
    </Dialog>
  );
}

/** What was chosen last: a second clip is often wanted like the first. */
const asProfiles = signal<string[]>([]);

function ApproveAs() {
  return (
    <Dialog title="Approve">
      <form
        class="approve-as"
        onSubmit={(event) => {
          event.preventDefault();
          overlay.value = null;
          verdict("approve", { profiles: asProfiles.value });
        }}
      >
        <Profiles chosen={asProfiles} legend="To be delivered as this, and not as the video's request says" />
        <button type="submit" class="primary" disabled={!asProfiles.value.length}>
          Approve
        </button>
      </form>
    </Dialog>
  );
}
