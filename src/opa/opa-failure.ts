/** Why there is no decision, which refuses the call UNAVAILABLE. Its message holds nothing that OPA or a caller wrote. */
export class OpaFailure extends Error {
  override readonly name: string = "OpaFailure";
}
