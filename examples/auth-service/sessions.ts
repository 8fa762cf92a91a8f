// Sign-in, refresh and sign-out: which tokens there are, and which are good.
import { createHash, randomBytes, randomUUID, timingSafeEqual } from "node:crypto";
import type { RevocationAdministration } from "grpc-palisade";
import type { IdentityStore, Session } from "./identity-store.ts";
import { isPassword } from "./passwords.ts";
import type { LoginResponse, User } from "./services.ts";
import type { SigningKeys } from "./signing-keys.ts";

/** Of access tokens. */
export const lifetimeSec = 3_600;
const sessionLifetimeMs = 30 * 86_400_000;

export interface SessionsOptions {
  readonly store: IdentityStore;
  readonly keys: SigningKeys;
  readonly issuer: string;
  readonly audiences: readonly string[];
  readonly revocations: RevocationAdministration;
}

export class Sessions {
  readonly #options: SessionsOptions;

  constructor(options: SessionsOptions) {
    this.#options = options;
  }

  /** Undefined for an e-mail that nobody has and for a wrong password; both take the same time. */
  async signIn(email: string, password: string): Promise<LoginResponse | undefined> {
    const { store } = this.#options;
    const account = await store.accountByEmail(email);
    if (!(await isPassword(password, account?.passwordHash)) || account === undefined) return undefined;
    const id = randomUUID();
    const { refreshToken, refreshDigest } = newRefreshToken(id);
    const tokenId = randomUUID();
    await store.addSession({
      id,
      userId: account.user.id,
      refreshDigest,
      expiresAt: Date.now() + sessionLifetimeMs,
      ended: false,
      tokenIds: [tokenId],
    });
    return this.#answer(account.user, id, tokenId, refreshToken);
  }

  /** Undefined for a token that is not good. One that was used before ends its session: somebody has a copy. */
  async refresh(refreshToken: string): Promise<LoginResponse | undefined> {
    const { store } = this.#options;
    const session = await store.sessionById(refreshToken.split(".")[0] ?? "");
    if (session === undefined || session.ended || Date.now() >= session.expiresAt) return undefined;
    const presented = digestOf(refreshToken);
    const next = newRefreshToken(session.id);
    const tokenId = randomUUID();
    const rotated =
      isSame(presented, session.refreshDigest) &&
      (await store.rotate(session.id, presented, {
        refreshDigest: next.refreshDigest,
        tokenIds: [tokenId, ...session.tokenIds].slice(0, 2),
      }));
    if (!rotated) {
      await this.end(session.id);
      return undefined;
    }
    const user = await store.userById(session.userId);
    return user === undefined ? undefined : this.#answer(user, session.id, tokenId, next.refreshToken);
  }

  /** Its refresh token is not good any more, and its access tokens are revoked wherever the list of revocations is read. */
  async end(id: string): Promise<void> {
    const { store, revocations } = this.#options;
    await store.endSession(id);
    const session: Session | undefined = await store.sessionById(id);
    const expiresAt = Date.now() + lifetimeSec * 1000;
    for (const tokenId of session?.tokenIds ?? []) await revocations.revokeToken(tokenId, expiresAt);
  }

  async #answer(
    user: User,
    sessionId: string,
    tokenId: string,
    refreshToken: string,
  ): Promise<LoginResponse> {
    const { keys, issuer, audiences } = this.#options;
    const nowSec = Math.floor(Date.now() / 1000);
    const accessToken = await keys.sign({
      iss: issuer,
      aud: audiences,
      sub: user.id,
      tenant: user.tenant,
      roles: user.roles,
      client_id: "web",
      sid: sessionId,
      jti: tokenId,
      iat: nowSec,
      exp: nowSec + lifetimeSec,
    });
    return { accessToken, refreshToken, expiresIn: lifetimeSec, user };
  }
}

function newRefreshToken(sessionId: string): {
  readonly refreshToken: string;
  readonly refreshDigest: string;
} {
  const refreshToken = `${sessionId}.${randomBytes(32).toString("base64url")}`;
  return { refreshToken, refreshDigest: digestOf(refreshToken) };
}

function digestOf(token: string): string {
  return createHash("sha256").update(token).digest("hex");
}

function isSame(one: string, other: string): boolean {
  return one.length === other.length && timingSafeEqual(Buffer.from(one), Buffer.from(other));
}
