// Every row of the demo, in order.
import type { DemoCall } from "../demo-call.ts";
import { credentialCalls } from "./credentials.ts";
import { failureCalls } from "./failures.ts";
import { goodCalls } from "./good.ts";
import { limitCalls } from "./limits.ts";
import { permissionCalls } from "./permissions.ts";
import { transportCalls } from "./transport.ts";

export const allCalls: readonly DemoCall[] = [
  ...goodCalls,
  ...credentialCalls,
  ...permissionCalls,
  ...transportCalls,
  ...limitCalls,
  ...failureCalls,
];
