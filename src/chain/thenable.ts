/** By shape and not by class: a promise of another realm (a test runner's, a vm's) is one too. */
export function isThenable<T>(value: T | Promise<T>): value is Promise<T> {
  if (typeof value !== "object" || value === null) return false;
  const { then }: { readonly then?: unknown } = value;
  return typeof then === "function";
}
