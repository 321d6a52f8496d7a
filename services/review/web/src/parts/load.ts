// Loads what a page shows, and looks again when live events say that something changed: at most once in a second, and never
// because of its own answer.

import { useSignal, useSignalEffect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { AGAIN_MS, call } from "../api";
import { news } from "../store";

const REST_MS = 1000;

export interface Loaded<T> {
  data: T | null;
  error: Error | null;
  again: () => void;
}

export function useLoad<T>(path: string | null, live = true): Loaded<T> {
  const data = useSignal<T | null>(null);
  const error = useSignal<Error | null>(null);
  const turn = useRef(0);
  // An answer counts unless a later question was answered before it, or another path is asked for by now.
  const told = useRef(0);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const last = useRef(0);

  const load = () => {
    const number = ++turn.current;
    last.current = Date.now();
    if (!path) return;
    call<T>(path).then(
      (found) => {
        if (number <= told.current) return;
        told.current = number;
        data.value = found;
        error.value = null;
      },
      (reason: Error) => {
        if (number <= told.current) return;
        told.current = number;
        error.value = reason;
        later(AGAIN_MS);
      },
    );
  };
  const later = (ms: number) => {
    clearTimeout(timer.current);
    timer.current = setTimeout(load, ms);
  };
  useEffect(() => {
    data.value = null;
    error.value = null;
    load();
    return () => {
      told.current = turn.current;
      clearTimeout(timer.current);
    };
  }, [path]);
  const seen = useRef(news.peek());
  useSignalEffect(() => {
    if (news.value === seen.current || !live) return;
    seen.current = news.value;
    later(Math.max(0, last.current + REST_MS - Date.now()));
  });
  return { data: data.value, error: error.value, again: load };
}
