// The audit options of a policy (gRFC A59): which decisions are to be recorded. Where to is for the server's audit sinks to say.
import { didYouMean } from "../../../config/nearest-name.ts";
import type { FieldReader } from "./policy-fields.ts";

export const auditConditions = ["NONE", "ON_DENY", "ON_ALLOW", "ON_DENY_AND_ALLOW"] as const;
export type AuditCondition = (typeof auditConditions)[number];

/** Is a decision of this kind to be recorded? Undefined where the policy says nothing of it. */
export function isAudited(
  condition: AuditCondition | undefined,
  effect: "allow" | "deny",
): boolean | undefined {
  if (condition === undefined) return undefined;
  return condition === "ON_DENY_AND_ALLOW" || condition === (effect === "allow" ? "ON_ALLOW" : "ON_DENY");
}

/** The one that gRPC brings. A server's audit sinks take the place of the loggers of a policy, whatever they are called. */
const builtInLogger = "stdout_logger";

/** `value`: what `audit_logging_options` holds. Undefined where it is left out. */
export function parseAuditOptions(
  reader: FieldReader,
  value: unknown,
  problems: string[],
): AuditCondition | undefined {
  const where = "audit_logging_options";
  if (value === undefined || value === null) return undefined;
  const options = reader.object(value, where, ["audit_condition", "audit_loggers"]);
  for (const [place, logger] of reader.list(options, "audit_loggers", where).entries())
    checkLogger(reader, logger, `${where}.audit_loggers[${place}]`, problems);
  const written = reader.text(options, "audit_condition", where);
  const condition = auditConditions.find((each) => each === written);
  if (written !== "" && condition === undefined)
    problems.push(
      `${where}.audit_condition: expected one of ${auditConditions.join(", ")}${didYouMean(written, auditConditions)}`,
    );
  return condition ?? "NONE";
}

function checkLogger(reader: FieldReader, value: unknown, where: string, problems: string[]): void {
  if (value === null) {
    problems.push(`${where}: expected an object, not null; take it out`);
    return;
  }
  const logger = reader.object(value, where, ["name", "config", "is_optional"]);
  const config = logger.get("config");
  // Any members: they are the logger's own.
  if (config !== undefined && config !== null && (typeof config !== "object" || Array.isArray(config)))
    problems.push(`${where}.config: expected an object; take it out where the logger needs none`);
  const isOptional = reader.flag(logger, "is_optional", where);
  const written = reader.text(logger, "name", where);
  // gRPC looks for what stands behind the last slash.
  const name = written.slice(written.lastIndexOf("/") + 1);
  if (name === "") problems.push(`${where}.name: is missing or empty; write "${builtInLogger}"`);
  else if (name !== builtInLogger && !isOptional)
    problems.push(
      `${where}.name: no such logger here: ${JSON.stringify(written)}; write "${builtInLogger}", which stands for this server's audit sinks, or "is_optional": true`,
    );
}
