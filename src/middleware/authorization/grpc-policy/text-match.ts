// The four ways in which a gRPC authorization policy compares a text: exactly, by its start, by its end, by its presence.

export type TextMatch =
  | { readonly kind: "exact" | "prefix" | "suffix"; readonly text: string }
  /** Any text that is not empty. */
  | { readonly kind: "presence" };

/**
 * Reads what stands in a policy: `abc`, `abc*`, `*abc`, `*`. A `*` at both ends is as grpc-go reads it: the first belongs to the
 * text. One in the middle always does.
 */
export function parseTextMatch(written: string): TextMatch {
  if (written === "*") return { kind: "presence" };
  if (written.endsWith("*")) return { kind: "prefix", text: written.slice(0, -1) };
  if (written.startsWith("*")) return { kind: "suffix", text: written.slice(1) };
  return { kind: "exact", text: written };
}

/** grpc-go asks the regular expression `.+`, and a dot is no line end. */
export function isPresent(value: string): boolean {
  return value !== "" && !value.includes("\n");
}

export function matchesText(match: TextMatch, value: string): boolean {
  switch (match.kind) {
    case "exact":
      return value === match.text;
    case "prefix":
      return value.startsWith(match.text);
    case "suffix":
      return value.endsWith(match.text);
    case "presence":
      return isPresent(value);
  }
}

/** In words, for whoever reads the access matrix. */
export function describeMatch(match: TextMatch): string {
  switch (match.kind) {
    case "exact":
      return JSON.stringify(match.text);
    case "prefix":
      return `starts with ${JSON.stringify(match.text)}`;
    case "suffix":
      return `ends with ${JSON.stringify(match.text)}`;
    case "presence":
      return "is not empty";
  }
}
