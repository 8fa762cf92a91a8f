// Connect's conformance suite, with its own client and with grpc-go's, against a server behind default options.
import { beforeAll, describe, expect, it } from "vitest";
import { hangMs } from "../harness/time.ts";
import {
  type ConformanceResult,
  type ConformanceTool,
  conformanceTool,
  patterns,
  type Reasons,
  runConformance,
} from "./conformance.ts";
import { installTimeoutMs, lacks } from "./tools.ts";

/** What `conformance/config.yaml` leaves of the suite. */
const cases = 570;

/** How a case of `known-failing.txt` may fail: by what is hidden, and by nothing else. */
const hidden: readonly RegExp[] = [
  /^actual error \{code: (?:2|13|15) \(\w+\), message: "internal error \(id [0-9a-f-]+\)"\} does not match expected message "/,
  /^actual error contain 0 details; expecting 1$/,
  /^actual response trailers missing "x-custom-trailer"$/,
];

const lists = patterns("known-failing.txt");

/** What failed and should not have, or did not and should have, or failed for another reason. */
function unexpected({ wrong, knownFailing }: ConformanceResult): ReadonlyMap<string, Reasons> {
  const otherwise = [...knownFailing].filter(
    ([name, reasons]) =>
      !name.endsWith("/unexpected-codec") &&
      !reasons.every((reason) => hidden.some((one) => one.test(reason))),
  );
  return new Map([...wrong, ...otherwise]);
}

describe.skipIf(lacks("go"))("Connect's conformance suite", () => {
  let tool: ConformanceTool;

  beforeAll(async () => {
    tool = await conformanceTool();
  }, installTimeoutMs);

  it(
    "N1 passes, but for what is hidden on purpose",
    async () => {
      const result = await runConformance(tool, "palisade", { knownFailing: lists });
      const { passed, knownFailing, wrong } = result;
      process.stderr.write(
        `conformance suite: ${passed} passed, ${knownFailing.size} known failing, ${wrong.size} wrong\n`,
      );
      expect(passed + knownFailing.size + wrong.size).toBe(cases);

      const suspects = unexpected(result);
      if (suspects.size === 0) return;
      // Some cases are timed, and a busy machine may have been too late: they are run again, one call at a time.
      const again = await runConformance(tool, "palisade", {
        knownFailing: lists,
        only: [...suspects.keys()],
        parallel: 1,
      });
      expect(Object.fromEntries(unexpected(again))).toEqual({});
    },
    hangMs,
  );
});
