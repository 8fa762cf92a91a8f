// What comes out of a comparison of two policies.
import type { MethodAccess } from "./method-access.ts";

/** `gained`: more is allowed. `lost`: less. `changed`: more in one way and less in another, or it cannot be told. */
export type ChangeDirection = "gained" | "lost" | "changed";

/** One thing that one party may do under one policy and not under the other. Plain data. */
export interface PolicyChange {
  readonly direction: ChangeDirection;
  /**
   * - `everybody`: callers without credentials;
   * - `verified`: every verified caller, whatever its roles;
   * - `role`: verified callers with `role`. One that a policy does not name grants nothing there.
   */
  readonly party: "everybody" | "verified" | "role";
  readonly role?: string;
  /** `/package.Service/Method` */
  readonly method: string;
  /** The access of the method as a whole, as in the access matrix; `absent` where the method is not there. */
  readonly accessBefore: MethodAccess["access"] | "absent";
  readonly accessAfter: MethodAccess["access"] | "absent";
  /** `call`: whether the party may call it at all. The others: what it must bring besides. */
  readonly what: "call" | "permissions" | "schemes" | "actor" | "conditions";
  /** In words. */
  readonly before: string;
  readonly after: string;
  /** Why the direction cannot be told, or for which callers alone it holds. */
  readonly note?: string;
}

/** What differs between two policies, for each role, for every verified caller and for callers without credentials. */
export interface PolicyComparison {
  readonly isEmpty: boolean;
  /** How many changes of each direction. */
  readonly counts: Readonly<Record<ChangeDirection, number>>;
  /** In the order of the methods. */
  readonly changes: readonly PolicyChange[];
  /** A table for a terminal. Parties with the same change share a row. */
  toText(): string;
  /** The same as GitHub-flavoured Markdown, for the comment on a pull request. */
  toMarkdown(): string;
}
