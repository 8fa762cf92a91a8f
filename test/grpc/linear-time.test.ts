// The time of parsers whose text a caller chooses (L11).
import { it } from "vitest";
import { methodInfo } from "../../src/grpc/method.ts";
import { addressKey } from "../../src/grpc/peer-key.ts";
import { expectLinearTime, type Parsers } from "../harness/linear-time.ts";

const parsers: Parsers = {
  "an address": addressKey,
  "the path of a method": (text) => methodInfo(text, "unary", false),
};

it.each(Object.entries(parsers))("L11 %s takes linear time", (_what, parse) => {
  expectLinearTime(parse);
});
