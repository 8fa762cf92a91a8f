// The time of parsers whose text a caller chooses (L11).
import { it } from "vitest";
import { describeError } from "../../src/observability/error-description.ts";
import { boundedText, redactSecrets } from "../../src/observability/redaction.ts";
import { expectLinearTime, type Parsers } from "../harness/linear-time.ts";

const parsers: Parsers = {
  "text with secrets": (text) => redactSecrets(text, text.length),
  "text for a log": (text) => boundedText(text, text.length),
  "an error": (text) =>
    describeError(Object.assign(new Error(text), { code: text, name: text, stack: text })),
};

it.each(Object.entries(parsers))("L11 %s takes linear time", (_what, parse) => {
  expectLinearTime(parse);
});
