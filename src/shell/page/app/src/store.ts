// A value that views watch.
import { useEffect, useState } from "preact/hooks";

export class Store<T extends object> {
  private readonly watchers = new Set<() => void>();

  constructor(private value: T) {}

  get(): T {
    return this.value;
  }

  set(change: Partial<T>): void {
    this.value = { ...this.value, ...change };
    for (const tell of [...this.watchers]) tell();
  }

  watch(tell: () => void): () => void {
    this.watchers.add(tell);
    return () => this.watchers.delete(tell);
  }
}

export function useStore<T extends object>(store: Store<T>): T {
  const [value, change] = useState(store.get());
  useEffect(() => {
    const look = () => change(store.get());
    look();
    return store.watch(look);
  }, [store]);
  return value;
}

/** Renders again each second while `isOn`: for clocks. */
export function useSecond(isOn: boolean): number {
  const [now, tick] = useState(Date.now());
  useEffect(() => {
    if (!isOn) return;
    const timer = setInterval(() => tick(Date.now()), 1000);
    return () => clearInterval(timer);
  }, [isOn]);
  return isOn ? Math.max(now, Date.now()) : Date.now();
}
