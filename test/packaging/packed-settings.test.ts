// What the package ships stands alone: nothing in it leans on a file that stays behind.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";

const root = join(import.meta.dirname, "../..");

it("the NestJS example's settings extend nothing, because the checkout's own are not packed", () => {
  const settings = JSON.parse(readFileSync(join(root, "examples/nestjs/tsconfig.json"), "utf8"));
  expect(settings).toMatchObject({ compilerOptions: { strict: true } });
  expect(settings).not.toHaveProperty("extends");
});
