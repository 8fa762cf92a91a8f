// The contract of an audit sink: where audit entries go.
import type { AuditEntry } from "./audit-entry.ts";

export interface AuditSink {
  /** Shown in reports of failures. Default: the sink's position, `sink 1`. */
  readonly name?: string;
  /**
   * Writes a batch, oldest first. Called with one batch at a time: the next comes when the promise has settled. A
   * rejection means that the batch is not written: it comes again, up to three times, so that entries may be there
   * twice with the same `id`. A promise that never settles ends this sink's service, and no other sink's.
   */
  write(entries: readonly AuditEntry[]): Promise<void>;
  /** Called once at shutdown, after the last `write`. */
  close?(): Promise<void>;
}
