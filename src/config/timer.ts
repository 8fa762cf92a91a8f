/** Node's timers count in 31 bits: a longer delay would fire at once. */
export const maxTimerMs: number = 2 ** 31 - 1;
