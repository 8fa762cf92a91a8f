// The time of parsers whose text a caller chooses (L11).
import { it } from "vitest";
import { expectLinearTime, type Parsers } from "../harness/linear-time.ts";
import { callWithField } from "../middleware/authentication/incoming-call.ts";

const parsers: Parsers = {
  traceparent: (text) => callWithField("traceparent", text).traceId,
  "a request id": (text) => callWithField("x-request-id", text).requestId,
};

it.each(Object.entries(parsers))("L11 %s takes linear time", (_what, parse) => {
  expectLinearTime(parse);
});
