// What the demo does, row by row, and what must come of each.
import { once } from "node:events";
import { type ClientReadableStream, type StatusObject, status } from "@grpc/grpc-js";
import { type Answer, answered, statusText } from "../orders/answer.ts";
import { eventually } from "../orders/eventually.ts";
import type { KeyValidity, LoginResponse, Permission, Profile, UserRoles } from "./services.ts";
import { signingKeys } from "./signing-keys.ts";
import { type Email, type World, withKey, withToken } from "./world.ts";

export interface Seen {
  readonly result: string;
  readonly remark?: string;
}

export interface Row {
  readonly call: string;
  readonly expected: string;
  make(world: World): Promise<string | Seen>;
}

const ada: Email = "ada@acme.example";
const grace: Email = "grace@acme.example";
const linus: Email = "linus@other.example";

const login = (world: World, email: string, password: string): Promise<Answer<LoginResponse>> =>
  answered<LoginResponse>((done) => world.auth().login({ email, password }, done));

async function signIn(world: World, email: Email): Promise<LoginResponse> {
  const { status: ended, messages } = await login(world, world.emailOf(email), world.passwordOf(email));
  const [tokens] = messages;
  if (tokens === undefined) throw new Error(`${email} cannot sign in: ${ended}`);
  return tokens;
}

const refresh = (world: World, refreshToken: string): Promise<Answer<LoginResponse>> =>
  answered<LoginResponse>((done) => world.auth().refreshToken({ refreshToken }, done));

const logout = (world: World, { accessToken }: LoginResponse): Promise<Answer<unknown>> =>
  answered((done) => world.auth(withToken(accessToken)).logout({}, done));

async function profile(world: World, credentials: ReturnType<typeof withToken> | undefined): Promise<string> {
  const { status: ended, messages } = await answered<Profile>((done) =>
    world.profiles(credentials).getProfile({}, done),
  );
  return [ended, ...messages.map(shown)].join(", ");
}

function shown({ subject, tenant, documents }: Profile): string {
  // The subject has the name of this run behind it.
  const [name = ""] = subject.split("-");
  return `${name} of ${tenant === "" ? "no tenant" : tenant}, ${documents.length} documents`;
}

const refused = "UNAUTHENTICATED invalid credentials";

/** Profiles is asked until it refuses the token: how long that took. */
async function refusedAfter(world: World, token: string): Promise<Seen> {
  const start = performance.now();
  const result = await eventually("refusal", async () => {
    const answer = await profile(world, withToken(token));
    return answer === refused ? answer : undefined;
  });
  return { result, remark: `after ${Math.round(performance.now() - start)} ms` };
}

async function issueKey(
  world: World,
  permissions: readonly Permission[],
): Promise<{ id: string; key: string }> {
  const { accessToken } = await signIn(world, grace);
  const { status: ended, messages } = await answered<{ id: string; key: string }>((done) =>
    world.apiKeys(withToken(accessToken)).issueApiKey({ clientId: "billing", permissions }, done),
  );
  const [issued] = messages;
  if (issued === undefined) throw new Error(ended);
  return issued;
}

const readProfile: Permission = { resource: "profile", action: "read" };

async function validity(world: World, key: string): Promise<string> {
  const { accessToken } = await signIn(world, grace);
  const { messages } = await answered<KeyValidity>((done) =>
    world.apiKeys(withToken(accessToken)).validateApiKey({ key }, done),
  );
  const [said] = messages;
  if (said?.valid !== true) return "not valid";
  return `valid, ${said.clientId}, ${said.permissions.map(({ resource, action }) => `${resource}:${action}`).join(" ")}`;
}

function endOf(watch: ClientReadableStream<Profile>): Promise<string> {
  // The status says it too; without a listener it would be thrown.
  watch.on("error", () => {});
  return new Promise((resolve) => {
    watch.once("status", (ended: StatusObject) => resolve(statusText(ended)));
  });
}

export const rows: readonly Row[] = [
  {
    call: "Login",
    expected: "OK, 3600 s, ada, member",
    async make(world) {
      const { expiresIn, user } = await signIn(world, ada);
      return `OK, ${expiresIn} s, ${user.id.split("-")[0]}, ${user.roles.join(" ")}`;
    },
  },
  ...(
    [
      ["Login with a wrong password", ada, "wrong"],
      ["Login with an e-mail that nobody has", "nobody@acme.example", "wrong"],
      ["Login without a password", ada, ""],
    ] as const
  ).map(
    ([call, email, password]): Row => ({
      call,
      expected: "UNAUTHENTICATED Invalid credentials",
      make: async (world) =>
        (await login(world, email === ada ? world.emailOf(ada) : email, password)).status,
    }),
  ),
  {
    call: "Login, ten wrong passwords at once, then the right one",
    expected: "5 tried, then RESOURCE_EXHAUSTED Too many attempts, try again later",
    async make(world) {
      const email = world.emailOf(linus);
      const guesses = await Promise.all(
        Array.from({ length: 10 }, (_, n) => login(world, email, `guess ${n}`)),
      );
      const tried = guesses.filter(({ status: ended }) => ended.startsWith("UNAUTHENTICATED")).length;
      return `${tried} tried, then ${(await login(world, email, world.passwordOf(linus))).status}`;
    },
  },
  {
    call: "GetUserRoles of an administrator",
    expected: "OK, admin: apikey:issue apikey:validate apikey:revoke",
    async make(world) {
      const { accessToken } = await signIn(world, grace);
      const { status: ended, messages } = await answered<UserRoles>((done) =>
        world.auth(withToken(accessToken)).getUserRoles({}, done),
      );
      const told = messages[0]?.roles.map(
        ({ name, permissions }) =>
          `${name}: ${permissions.map(({ resource, action }) => `${resource}:${action}`).join(" ")}`,
      );
      return `${ended}, ${told?.join("; ")}`;
    },
  },
  {
    call: "Profiles, which asks Documents as the same caller",
    expected: "OK, ada of acme, 2 documents",
    make: async (world) => profile(world, withToken((await signIn(world, ada)).accessToken)),
  },
  {
    call: "Profiles without a token",
    expected: "UNAUTHENTICATED missing credentials",
    make: (world) => profile(world, undefined),
  },
  {
    call: "Profiles with a token whose signature was changed",
    expected: refused,
    async make(world) {
      const { accessToken } = await signIn(world, ada);
      const flipped = accessToken.endsWith("A") ? "Q" : "A";
      return profile(world, withToken(`${accessToken.slice(0, -1)}${flipped}`));
    },
  },
  {
    call: "Profiles with a token that another key signed",
    expected: refused,
    async make(world) {
      const { accessToken } = await signIn(world, ada);
      const claims = JSON.parse(Buffer.from(accessToken.split(".")[1] ?? "", "base64url").toString());
      return profile(world, withToken(await (await signingKeys()).sign({ ...claims, roles: ["admin"] })));
    },
  },
  {
    call: "RefreshToken, then Profiles with the new token",
    expected: "OK, ada of acme, 2 documents",
    async make(world) {
      const { messages } = await refresh(world, (await signIn(world, ada)).refreshToken);
      return profile(world, withToken(messages[0]?.accessToken ?? ""));
    },
  },
  {
    call: "RefreshToken with one that was used",
    expected: "UNAUTHENTICATED Invalid credentials",
    async make(world) {
      const { refreshToken } = await signIn(world, ada);
      await refresh(world, refreshToken);
      return (await refresh(world, refreshToken)).status;
    },
  },
  {
    call: "RefreshToken with the good one, after a used one came back",
    expected: "UNAUTHENTICATED Invalid credentials",
    async make(world) {
      const { refreshToken } = await signIn(world, ada);
      const { messages } = await refresh(world, refreshToken);
      await refresh(world, refreshToken);
      return (await refresh(world, messages[0]?.refreshToken ?? "")).status;
    },
  },
  {
    call: "Profiles with the access token of that session",
    expected: refused,
    async make(world) {
      const { refreshToken } = await signIn(world, ada);
      const { messages } = await refresh(world, refreshToken);
      await refresh(world, refreshToken);
      return refusedAfter(world, messages[0]?.accessToken ?? "");
    },
  },
  {
    call: "Profiles after the signing key was rotated: old token, new token",
    expected: "OK, ada of acme, 2 documents; OK, ada of acme, 2 documents",
    async make(world) {
      const before = await signIn(world, ada);
      await world.keys.rotate();
      const after = await signIn(world, ada);
      const answers = [before, after].map(({ accessToken }) => profile(world, withToken(accessToken)));
      return (await Promise.all(answers)).join("; ");
    },
  },
  {
    call: "Logout, then Profiles with the same token",
    expected: refused,
    async make(world) {
      const tokens = await signIn(world, ada);
      await profile(world, withToken(tokens.accessToken));
      await logout(world, tokens);
      return refusedAfter(world, tokens.accessToken);
    },
  },
  {
    call: "Logout, while a stream of Profiles is open",
    expected: refused,
    async make(world) {
      const tokens = await signIn(world, ada);
      const watch = world.profiles(withToken(tokens.accessToken)).watchProfile({});
      const ended = endOf(watch);
      await once(watch, "data");
      const start = performance.now();
      await logout(world, tokens);
      watch.on("data", () => {});
      const result = await ended;
      return { result, remark: `after ${Math.round(performance.now() - start)} ms` };
    },
  },
  {
    call: "RefreshToken after Logout",
    expected: "UNAUTHENTICATED Invalid credentials",
    async make(world) {
      const tokens = await signIn(world, ada);
      await logout(world, tokens);
      return (await refresh(world, tokens.refreshToken)).status;
    },
  },
  {
    call: "IssueApiKey as somebody who is no administrator",
    expected: "PERMISSION_DENIED permission denied",
    async make(world) {
      const { accessToken } = await signIn(world, ada);
      const { status: ended } = await answered((done) =>
        world.apiKeys(withToken(accessToken)).issueApiKey({ clientId: "billing" }, done),
      );
      return ended;
    },
  },
  {
    call: "IssueApiKey, then Profiles with the key",
    expected: "OK, billing of no tenant, 0 documents",
    make: async (world) => profile(world, withKey((await issueKey(world, [readProfile])).key)),
  },
  {
    call: "ValidateApiKey: a good key, then one that nobody issued",
    expected: "valid, billing, profile:read; not valid",
    async make(world) {
      const { key } = await issueKey(world, [readProfile]);
      return `${await validity(world, key)}; ${await validity(world, `${key.slice(0, -1)}x`)}`;
    },
  },
  {
    call: "RevokeApiKey, while a stream of Profiles is open with it; then ValidateApiKey",
    expected: `${refused}; not valid`,
    async make(world) {
      const { id, key } = await issueKey(world, [readProfile]);
      const watch = world.profiles(withKey(key)).watchProfile({});
      const ended = endOf(watch);
      await once(watch, "data");
      watch.on("data", () => {});
      const { accessToken } = await signIn(world, grace);
      const start = performance.now();
      const revoked = await answered((done) =>
        world.apiKeys(withToken(accessToken)).revokeApiKey({ id }, done),
      );
      if (revoked.status !== status[status.OK]) throw new Error(revoked.status);
      const result = await ended;
      const remark = `after ${Math.round(performance.now() - start)} ms`;
      return { result: `${result}; ${await validity(world, key)}`, remark };
    },
  },
];
