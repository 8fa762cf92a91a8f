// Who wants to hear that what a store holds changed.

export class ChangeListeners {
  readonly #listeners = new Map<symbol, () => void>();

  /** The same listener may be added twice, and is then called twice. Returns what takes it out. */
  add(listener: () => void): () => void {
    const key = Symbol("listener");
    this.#listeners.set(key, listener);
    return () => {
      this.#listeners.delete(key);
    };
  }

  /** A listener that throws keeps no other from hearing it, and affects nothing. */
  notify(): void {
    for (const listener of [...this.#listeners.values()]) {
      try {
        listener();
      } catch {
        // Nobody is left to be told: this runs in a timer, or for a call of somebody else.
      }
    }
  }
}
