// What the identity service keeps: users, and their sessions.
import type { User } from "./services.ts";

export interface Account {
  readonly user: User;
  readonly passwordHash: string;
}

/** One sign-in: a family of refresh tokens of which only the newest is good, and the access tokens that came of it. */
export interface Session {
  readonly id: string;
  readonly userId: string;
  /** SHA-256 of the refresh token that is good. */
  readonly refreshDigest: string;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
  readonly ended: boolean;
  /** The id (`jti`) of the access token that was issued last, and the one before. */
  readonly tokenIds: readonly string[];
}

export interface IdentityStore {
  addAccount(account: Account): Promise<void>;
  /** E-mail addresses are compared in lower case. */
  accountByEmail(email: string): Promise<Account | undefined>;
  userById(id: string): Promise<User | undefined>;
  addSession(session: Session): Promise<void>;
  sessionById(id: string): Promise<Session | undefined>;
  /** Puts a new refresh token in the place of `was`, in one step. False where `was` is not the good one any more. */
  rotate(id: string, was: string, next: Pick<Session, "refreshDigest" | "tokenIds">): Promise<boolean>;
  endSession(id: string): Promise<void>;
  close(): Promise<void>;
}
