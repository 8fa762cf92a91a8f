// One row of the access matrix: who may call one method.
import type { MethodKind } from "../../grpc/method.ts";

/** One method's row. Plain data. */
export interface MethodAccess {
  /** `/package.Service/Method` */
  readonly method: string;
  readonly kind: MethodKind;
  /**
   * - `probe`: a health probe. Open to everybody; credentials are not even looked at.
   * - `public`: nobody has to say who they are; a credential that is presented is verified.
   * - `authenticated`: every verified caller, by one of `schemes` where there are any.
   * - `restricted`: an identified caller with a role and the permissions that are named.
   * - `run-time`: only the policy knows, and only when it is asked.
   * - `denied`: no rule is about it, so nobody may call it.
   */
  readonly access: "probe" | "public" | "authenticated" | "restricted" | "run-time" | "denied";
  /** Where the rule stands in the policy: the path of a method, a service, a package. Absent where none decides. */
  readonly rule?: string;
  /** The roles that suffice by themselves, inheritance included. */
  readonly roles: readonly string[];
  /** The roles that suffice together with those of `permissions` that they do not grant. */
  readonly rolesWithPermissions: readonly string[];
  /** What the caller must have besides, from its roles or from its credential: all of them. */
  readonly permissions: readonly string[];
  /** How the caller must have been verified: any one of these. Empty: in any way. */
  readonly schemes: readonly string[];
  /** Whatever else the rule demands, in words. */
  readonly conditions: readonly string[];
}
