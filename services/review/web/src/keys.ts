// Which keys stand for which action: those of the action table, or those that a person has chosen instead, kept by the browser.

import { signal } from "@preact/signals";
import { action, ACTIONS, meet, type Action } from "./actions";
import { player } from "./screen";
import { overlay } from "./store";

type Choice = Record<string, string[]>;

const KEPT = "keys";

/** The choice that the browser keeps; what is no list of keys of an action there is, is passed over. */
function kept(): Choice {
  try {
    const found = Object.entries(JSON.parse(localStorage.getItem(KEPT) ?? "{}") as Choice);
    return Object.fromEntries(found.filter(([id, keys]) => action(id) && Array.isArray(keys) && keys.every((key) => typeof key === "string")));
  } catch {
    return {};
  }
}

const chosen = signal<Choice>(kept());
addEventListener("storage", ({ key }) => {
  if (key === KEPT || key === null) chosen.value = kept();
});

function keep(choice: Choice): void {
  chosen.value = choice;
  if (Object.keys(choice).length) localStorage.setItem(KEPT, JSON.stringify(choice));
  else localStorage.removeItem(KEPT);
}

export const keysOf = (one: Action): string[] => chosen.value[one.id] ?? one.keys;

/** Whether a person has chosen other keys for an action than its own; without one: for any. */
export const isChanged = (one?: Action): boolean => (one ? one.id in chosen.value : Object.keys(chosen.value).length > 0);

/** The action that a key stands for already, where another is to have it. */
export const holderOf = (key: string, one: Action): Action | undefined => ACTIONS.find((other) => other !== one && meet(other, one) && keysOf(other).includes(key));

/** Gives an action other keys, and takes them from whatever had them. */
export function assign(one: Action, keys: string[]): void {
  const choice = { ...chosen.value, [one.id]: keys };
  for (const other of ACTIONS) {
    const left = choice[other.id] ?? other.keys;
    choice[other.id] = other !== one && meet(other, one) ? left.filter((key) => !keys.includes(key)) : left;
    if (String(choice[other.id]) === String(other.keys)) delete choice[other.id];
  }
  keep(choice);
}

export const resetKeys = (): void => keep({});

// How keys are spelt

const NAMES: Record<string, string> = {
  ArrowLeft: "←",
  ArrowRight: "→",
  ArrowUp: "↑",
  ArrowDown: "↓",
  Period: ".",
  Comma: ",",
  Slash: "/",
  Escape: "Esc",
};

export function spelt(key: string): string {
  if (key === "Shift+Slash") return "?";
  return key
    .split("+")
    .map((part) => NAMES[part] ?? part.replace(/^(Key|Digit)/, ""))
    .join(" ");
}

/** The key of an event, with its modifiers; nothing while only modifiers are held. */
export function pressed(event: KeyboardEvent): string | null {
  if (!event.code || /^(Control|Alt|Shift|Meta|OS)/.test(event.code)) return null;
  const parts = [];
  if (event.ctrlKey || event.metaKey) parts.push("Ctrl");
  if (event.altKey) parts.push("Alt");
  if (event.shiftKey) parts.push("Shift");
  return [...parts, event.code].join("+");
}

// What pressing them does

/** What holding the key for playing makes of the keys for either direction: single frames. */
const STEPS: Record<string, number> = { forward: 1, backward: -1 };

const held = new Set<string>();

function typing(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(TEXTAREA|SELECT)$/.test(target.tagName) || (target instanceof HTMLInputElement && !/^(checkbox|radio|button|range)$/.test(target.type)));
}

export function listenToKeys(): void {
  addEventListener("keyup", (event) => held.delete(event.code));
  addEventListener("blur", () => held.clear());
  addEventListener("keydown", (event) => {
    if (event.isComposing || event.defaultPrevented) return;
    if (overlay.value) {
      if (event.code === "Escape") {
        overlay.value = null;
        event.preventDefault();
      }
      return;
    }
    const key = pressed(event);
    if (!key) return;
    if (typing(event.target) && !(key.startsWith("Ctrl+") && keysOf(action("palette")).includes(key))) {
      if (event.code === "Escape") (event.target as HTMLElement).blur();
      return;
    }
    // Enter and Space belong to a button or link that has the focus.
    const focused = event.target instanceof HTMLElement ? event.target.closest("button, a[href], [role=slider], [role=option], input, summary") : null;
    if (focused && (event.code === "Enter" || (event.code === "Space" && focused.tagName !== "A" && !focused.closest(".clips")))) return;
    const found = ACTIONS.find((one) => keysOf(one).includes(key) && one.when());
    const step = found && STEPS[found.id];
    if (step && keysOf(action("play")).some((other) => held.has(other))) {
      event.preventDefault();
      void player?.step(step);
      return;
    }
    held.add(event.code);
    if (!found) return;
    event.preventDefault();
    if (event.repeat && !found.repeats) return;
    found.run();
  });
}
