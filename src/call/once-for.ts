// What is the same for as long as an object lasts, worked out once: a peer's key, what records say of a principal.

/** `make`, which is asked once for each object. What it made is held no longer than the object. */
export function onceFor<Key extends object, Made>(make: (key: Key) => Made): (key: Key) => Made {
  const known = new WeakMap<Key, { readonly made: Made }>();
  return (key) => {
    const before = known.get(key);
    if (before !== undefined) return before.made;
    const made = make(key);
    known.set(key, { made });
    return made;
  };
}
