// Passwords by argon2id (RFC 9106), with the parameters that OWASP names for it: 19 MiB, two passes, one lane.
import { randomBytes } from "node:crypto";
import { hash as hashPassword, type Options, verify } from "@node-rs/argon2";

/** 2 is argon2id; the package's enumeration is there for its own compiler only. */
const settings: Options = { algorithm: 2, memoryCost: 19_456, timeCost: 2, parallelism: 1 };

/** Longer ones are nobody's: hashing takes memory and time that a caller chooses. */
const maxLength = 256;

export function hash(password: string): Promise<string> {
  return hashPassword(password, settings);
}

/** The hash of a password that nobody knows: it is verified where nobody has the e-mail, so that both take the same time. */
const nobodys: Promise<string> = hash(randomBytes(32).toString("base64url"));

export async function isPassword(password: string, stored: string | undefined): Promise<boolean> {
  const usable = password.length > 0 && password.length <= maxLength;
  const matches = await verify(stored ?? (await nobodys), usable ? password : "");
  return usable && stored !== undefined && matches;
}
