// Signs tokens of distinct principals beforehand, RS256, one after the other. Several of these share the work.
import { createPrivateKey, sign } from "node:crypto";
import { createWriteStream } from "node:fs";
import { finished } from "node:stream/promises";
import { answerAsks } from "../process/ask.ts";
import type { SignerAsks } from "../process/protocol.ts";

const lifetimeSec = 6 * 60 * 60;

answerAsks<SignerAsks>({
  async sign({ privateKeyPem, trust, first, count, file }) {
    const encoded = (part: object): string => Buffer.from(JSON.stringify(part)).toString("base64url");
    const key = createPrivateKey(privateKeyPem);
    const header = encoded({ alg: "RS256", typ: "JWT" });
    const iat = Math.floor(Date.now() / 1_000);
    const lines = createWriteStream(file, { mode: 0o600 });
    for (let at = first; at < first + count; at += 1) {
      const claims = { iss: trust.issuer, aud: trust.audience, sub: `principal-${at}`, roles: ["caller"] };
      const signed = `${header}.${encoded({ ...claims, iat, exp: iat + lifetimeSec })}`;
      lines.write(`${signed}.${sign("sha256", Buffer.from(signed), key).toString("base64url")}\n`);
    }
    lines.end();
    await finished(lines);
    return undefined;
  },
});
