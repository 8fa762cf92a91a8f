/**
 * An `AbortSignal` whose listeners cannot end the process: Node throws what one of them throws, or rejects with, from
 * a tick of its own, where only the process hears it. Nothing but the listeners is changed, so that the signal is still
 * one for everything that takes one.
 */

type Add = EventTarget["addEventListener"];
type Listener = Parameters<Add>[1];
type Listen = (event: Event) => unknown;

/** `run` runs each listener, and keeps what it throws or rejects with. */
export function guardListeners(signal: AbortSignal, run: (listener: () => unknown) => void): void {
  // The same one for the same listener: it is added once, and can be removed.
  const guards = new WeakMap<object, Listen>();
  const guardOf = (listener: Listener | null): Listen | null => {
    if (listener === null || listener === undefined) return null;
    let guard = guards.get(listener);
    if (guard === undefined) {
      guard = (event) => run(() => call(listener, signal, event));
      guards.set(listener, guard);
    }
    return guard;
  };
  const { addEventListener, removeEventListener } = signal;
  let onabort: Listen | null = null;
  Object.defineProperties(signal, {
    addEventListener: {
      configurable: true,
      value: (type: string, listener: Listener, ...options: unknown[]): void =>
        Reflect.apply(addEventListener, signal, [type, guardOf(listener), ...options]),
    },
    removeEventListener: {
      configurable: true,
      value: (type: string, listener: Listener, ...options: unknown[]): void =>
        Reflect.apply(removeEventListener, signal, [type, guardOf(listener), ...options]),
    },
    onabort: {
      configurable: true,
      get: () => onabort,
      set: (listener: unknown) => {
        onabort = typeof listener === "function" ? (listener as Listen) : null;
        Reflect.set(AbortSignal.prototype, "onabort", guardOf(onabort), signal);
      },
    },
  });
}

function call(listener: NonNullable<Listener>, signal: AbortSignal, event: Event): unknown {
  if (typeof listener === "function") return Reflect.apply(listener, signal, [event]);
  return listener.handleEvent(event);
}
