// Times as records show them: milliseconds, to the microsecond.

export function roundedMs(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
