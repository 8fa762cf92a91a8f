// Certificates that are about to end: a metric that shows the days left, and a warning a week ahead.
import type { X509Certificate } from "node:crypto";
import { followMeterProvider, LazyInstruments } from "../observability/instruments.ts";
import { type CertificateReporting, type CertificateRole, sayWarning } from "./certificate-reporting.ts";
import { validityOf } from "./load-pem.ts";

/** A certificate in use, and what it is used for. */
export interface CertificateInUse {
  readonly role: CertificateRole;
  readonly certificate: X509Certificate;
}

const hourMs = 60 * 60 * 1_000;
const dayMs = 24 * hourMs;
/** How long before its end a certificate is warned about. */
const warnAheadMs = 168 * hourMs;

/** Everything that is watched in this process and wants to be measured. */
const measured: Set<ExpiryWatch> = new Set();

new LazyInstruments((meter) => {
  const gauge = meter.createObservableGauge("palisade.certificate.days_left", {
    unit: "d",
    description: "Days until the first certificate of a role ends; negative where it has ended",
  });
  gauge.addCallback((result) => {
    for (const [role, end] of firstEnds()) result.observe((end - Date.now()) / dayMs, { role });
  });
});

function firstEnds(): ReadonlyMap<CertificateRole, number> {
  const first = new Map<CertificateRole, number>();
  for (const watch of measured) {
    for (const [role, end] of watch.ends) {
      if (!(end >= (first.get(role) ?? Number.POSITIVE_INFINITY))) first.set(role, end);
    }
  }
  return first;
}

/** Watches the ends of the certificates that one server or client has in use. */
export class ExpiryWatch {
  readonly #reporting: CertificateReporting;
  #inUse: readonly CertificateInUse[] = [];
  /** When each was last warned about, by fingerprint: once a day is enough. */
  #warned: Map<string, number> = new Map();

  constructor(reporting: CertificateReporting) {
    this.#reporting = reporting;
  }

  /** From now on these are in use, and measured until `stop()`. */
  use(inUse: readonly CertificateInUse[]): void {
    this.#inUse = inUse;
    const current = new Set(inUse.map(({ certificate }) => certificate.fingerprint256));
    this.#warned = new Map([...this.#warned].filter(([fingerprint]) => current.has(fingerprint)));
    if (this.#reporting.metrics) measured.add(this);
    this.check();
  }

  stop(): void {
    measured.delete(this);
  }

  /** For each certificate its role and its end, in milliseconds since the epoch. */
  get ends(): readonly (readonly [role: CertificateRole, end: number])[] {
    return this.#inUse.map(({ role, certificate }) => [role, validityOf(certificate).notAfter]);
  }

  /** Warns about what ends soon. To be called from time to time. */
  check(): void {
    if (this.#reporting.metrics) followMeterProvider();
    for (const each of this.#inUse) this.#checkOne(each);
  }

  #checkOne({ role, certificate }: CertificateInUse): void {
    const now = Date.now();
    const { notAfter } = validityOf(certificate);
    if (notAfter - now > warnAheadMs) return;
    const warnedAt = this.#warned.get(certificate.fingerprint256);
    if (warnedAt !== undefined && now - warnedAt < dayMs) return;
    this.#warned.set(certificate.fingerprint256, now);
    const hoursLeft = Math.floor((notAfter - now) / hourMs);
    const fields = {
      role,
      hours_left: hoursLeft,
      valid_to: certificate.validTo,
      serial_number: certificate.serialNumber,
      fingerprint256: certificate.fingerprint256,
    };
    const message =
      hoursLeft < 0 ? "a certificate has expired; renew it" : "a certificate expires soon; renew it";
    sayWarning(this.#reporting, fields, message, `role ${role}, valid to ${certificate.validTo}`);
  }
}
