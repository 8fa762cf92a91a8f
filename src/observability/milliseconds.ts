// Times as records show them: milliseconds, to the microsecond.

export function roundedMs(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}

/** `.001` for 1, `.5` for 500, nothing for 0: what stands behind the whole milliseconds. */
const fractions: readonly string[] = Array.from({ length: 1000 }, (_, microseconds) =>
  String(microseconds / 1000).slice(1),
);
const manyMicroseconds = 2 ** 31;

/** What `JSON.stringify(roundedMs(ms))` says. Turning a number with a fraction into text is slow work, whole ones are quick. */
export function roundedMsText(ms: number): string {
  const microseconds = Math.round(ms * 1000);
  if (!(microseconds >= 0 && microseconds < manyMicroseconds)) return JSON.stringify(roundedMs(ms));
  const whole = Math.floor(microseconds / 1000);
  return `${whole}${fractions[microseconds - whole * 1000]}`;
}
