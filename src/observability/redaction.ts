// Text that others wrote, made fit for a log line: bounded in length, and without what looks like a secret.
// Every expression here runs in linear time: each starts at a literal, and what follows is bounded or cannot fail.

const removed = "[redacted]";

/** The longest text that is searched for secrets: more would be cut away anyway. */
const maxSearchedLength = 16_384;

/** What may stand between a name and its value: `: `, `=`, `":"`, `\":\"`, ` => [ `, and `', '` of raw header lists. */
const separator = String.raw`(?:\\{0,4}["']?\s{0,8}[:=]>?\s{0,8}[[({]?\s{0,8}|\\{0,4}["']\s{0,8},\s{0,8}(?=\\{0,4}["']))`;

/** A value in quotes up to the closing quote or the end of the line, quotes perhaps escaped. */
const quoted = String.raw`\\{0,4}"[^"\r\n]*|\\{0,4}'[^'\r\n]*`;

/** Order matters: whole headers before the words in them. */
const secrets: readonly (readonly [pattern: RegExp, replacement: string])[] = [
  // Private keys. A key that was cut off has no end line: the rest of the text goes.
  [
    /-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----[\s\S]*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|$)/g,
    "[redacted private key]",
  ],
  // Headers whose value has spaces in it: everything up to the closing quote, or to the end of the line.
  [
    new RegExp(String.raw`((?:authorization|cookie)${separator})(?:${quoted}|[^\s"'][^\r\n]*)`, "gi"),
    `$1${removed}`,
  ],
  // Named values: `password=…`, `"client_secret":"…"`, `x-api-key: …`, `?access_token=…`.
  [
    new RegExp(
      "((?:api[-_]?key|passw(?:or)?d|passphrase|pwd|secret|token|private[-_]?key|credentials?)" +
        String.raw`[\w-]{0,32}${separator})(?:${quoted}|[^\s"',;&)}\]]+)`,
      "gi",
    ),
    `$1${removed}`,
  ],
  // Authentication schemes (RFC 9110 section 11.1) with their credential.
  [/\b(Bearer|DPoP|Negotiate)\s{1,8}[^\s"',;)}\]]+/gi, `$1 ${removed}`],
  [/\b(Basic)\s{1,8}[A-Za-z0-9+/_-]{8,}={0,2}/gi, `$1 ${removed}`],
  // JSON Web Tokens, whole or cut off: base64url of `{"`.
  [/eyJ[\w-]{8,}(?:\.[\w-]*){0,4}/g, removed],
  // API keys as `issueApiKey` makes them.
  [/plsd_[\w-]{8,}/g, removed],
  // User name and password in a URL (RFC 3986 section 3.2.1), up to the last `@`: drivers take unescaped passwords.
  // No further than the next `://`, so that a text full of them is not searched from each one anew.
  [/:\/\/(?:(?!:\/\/)[^\s"'<>]){1,512}@/g, `://${removed}@`],
];

/** The longest text in a log line, a span or a record that callers had a hand in: a method that does not exist, a subject. */
export const maxTextLength = 256;

/**
 * Replaces what looks like a secret (tokens, keys, passwords, credentials in headers and URLs) by `[redacted]` and cuts
 * the text to `maxLength` UTF-16 units. It errs on the side of removing too much. A last line of defence: text that
 * carries a secret in a form of its own passes.
 */
export function redactSecrets(text: string, maxLength: number): string {
  let result = text.length <= maxSearchedLength ? text : withoutLastWord(text.slice(0, maxSearchedLength));
  // protection: redaction
  for (const [pattern, replacement] of secrets) result = result.replace(pattern, replacement);
  return boundedText(result, maxLength);
}

/** The cut may have gone through a secret, whose first half would not be recognized. */
function withoutLastWord(text: string): string {
  return text.slice(0, text.search(/\s\S*$/) + 1);
}

/** What a terminal obeys or a viewer turns around: C1 controls, line separators, marks of direction. JSON escapes C0 alone. */
const unsafeToShow = /[\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/**
 * Cuts a text to `maxLength` UTF-16 units, the last an ellipsis where something is missing, and replaces what a terminal
 * would obey.
 */
export function boundedText(text: string, maxLength: number): string {
  const short = text.length <= maxLength ? text : `${text.slice(0, maxLength - 1).toWellFormed()}…`;
  return short.replace(unsafeToShow, "\ufffd");
}
