// Where certificates that change, or are about to end, are spoken of.
import type { Logger } from "pino";
import { LazyInstruments } from "../observability/instruments.ts";

export interface CertificateReporting {
  /** Where it is said. Undefined: problems become process warnings (`PalisadeWarning`), the rest stays unsaid. */
  readonly logger?: Logger | false | undefined;
  /** Count reloads and tell the days left through OpenTelemetry. */
  readonly metrics: boolean;
}

/** Whose certificate: the server's, the client's, or one of the roots that either trusts. */
export type CertificateRole = "server" | "client" | "ca";

const instruments = new LazyInstruments((meter) => ({
  reloads: meter.createCounter("palisade.certificate.reloads", {
    unit: "{reload}",
    description: "Changes of certificate files, by what became of them",
  }),
}));

/** Counts `palisade.certificate.reloads` by `role` and `result`. */
export function countReload(
  { metrics }: CertificateReporting,
  role: "server" | "client",
  result: "taken" | "refused",
): void {
  if (metrics) instruments.use(({ reloads }) => reloads.add(1, { role, result }));
}

/** A logger that throws must end nothing: this runs from timers. */
export function sayInfo({ logger }: CertificateReporting, fields: object, message: string): void {
  if (logger === undefined || logger === false) return;
  try {
    logger.info(fields, message);
  } catch {
    // Nothing is left to report it to.
  }
}

/** A problem, which is heard without a logger too. `detail` is what a process warning says beside the message. */
export function sayWarning(
  { logger }: CertificateReporting,
  fields: Readonly<Record<string, unknown>>,
  message: string,
  detail: string,
): void {
  if (logger === false) return;
  if (logger === undefined) {
    process.emitWarning(`${message}: ${detail}`, {
      type: "PalisadeWarning",
      code: "PALISADE_CERTIFICATE",
    });
    return;
  }
  try {
    logger.warn(fields, message);
  } catch {
    // Nothing is left to report it to.
  }
}
