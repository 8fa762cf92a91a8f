// From rounds to ratios: which contestant is compared with which, and whether it stays within its bar.
import { column, type Figure, type Race } from "./race.ts";
import { type Bar, barHolds, bootstrapMedian, type Interval, ratios } from "./statistics.ts";

/** Bare grpc-js, and the same program a second time: their ratio is what this machine's noise looks like. */
export const reference = "bare";
export const twin = "bare again";

export interface Question {
  readonly subject: string;
  /** Default: bare grpc-js. */
  readonly against?: string;
  /** Default: CPU time. */
  readonly figure?: Figure;
  /** A contestant whose figure is taken off first: what nobody could save. */
  readonly without?: string;
  readonly bar?: Bar;
}

export interface Comparison {
  readonly subject: string;
  readonly against: string;
  readonly figure: Figure;
  readonly without?: string;
  readonly ratio: Interval;
  /** Bare against bare, the same figure in the same rounds. */
  readonly noise: Interval;
  readonly bar?: Bar;
  /** Where there is a bar. */
  readonly holds?: boolean;
}

/** Undefined where the figure was not measured. */
export function compare(shown: Race, question: Question): Comparison | undefined {
  const { subject, against = reference, figure = "cpuUs", without, bar } = question;
  const whole = column(shown, subject, figure);
  if (whole.length === 0) return undefined;
  const saved = without === undefined ? [] : column(shown, without, figure);
  const own = whole.map((value, round) => value - (saved[round] ?? 0));
  const ratio = bootstrapMedian(ratios(own, column(shown, against, figure)));
  const noise = bootstrapMedian(ratios(column(shown, twin, figure), column(shown, reference, figure)));
  return {
    subject,
    against,
    figure,
    ...(without === undefined ? {} : { without }),
    ratio,
    noise,
    ...(bar === undefined ? {} : { bar, holds: barHolds(bar, ratio, noise) }),
  };
}
