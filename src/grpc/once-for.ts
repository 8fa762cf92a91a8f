// What is the same for as long as an object lasts, worked out once: a peer's key, what records say of a principal, the
// metrics of a method.

/**
 * An object that holds what was worked out for it, where nobody sees it. There may be a hundred thousand principals and ten
 * thousand methods, and a `WeakMap` of so many entries is walked through whenever garbage is collected.
 */
export class Remembering {
  #worked: unknown[] | undefined = undefined;

  static workedOutFor(key: object): unknown[] | undefined {
    if (!(#worked in key)) return undefined;
    key.#worked ??= [];
    return key.#worked;
  }
}

let functions = 0;

/**
 * `make`, which is asked once for each object, and does not answer undefined. What it made is held no longer than the
 * object.
 */
export function onceFor<Key extends object, Made extends object | string>(
  make: (key: Key) => Made,
): (key: Key) => Made {
  const own = functions;
  functions += 1;
  const others = new WeakMap<Key, Made>();
  return (key) => {
    const worked = Remembering.workedOutFor(key);
    const before = worked === undefined ? others.get(key) : (worked[own] as Made | undefined);
    if (before !== undefined) return before;
    const made = make(key);
    if (worked === undefined) others.set(key, made);
    else worked[own] = made;
    return made;
  };
}
