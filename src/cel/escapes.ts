// Escapes in the texts of an expression that the language does not have: the parser of the library takes them.

/** A comment is none here; a raw text has no escapes. Each piece is a text with what stands before it, or one character. */
const piece =
  /([bB]?)("""(?:\\[^]|[^\\])*?"""|'''(?:\\[^]|[^\\])*?'''|"(?:\\[^]|[^"\\])*"|'(?:\\[^]|[^'\\])*')|(?:[bB]?[rR]|[rR][bB])(?:"""[^]*?"""|'''[^]*?'''|"[^"]*"|'[^']*')|[^]/g;

const escape =
  /\\(?:([abfnrtv\\?"'`]|[0-3][0-7]{2}|[xX][0-9a-fA-F]{2})|(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})|[^])/g;

/** The first of them, as it stands there. */
export function unknownEscape(text: string): string | undefined {
  for (const [, bytes, quoted] of text.matchAll(piece)) {
    if (quoted === undefined) continue;
    for (const [written, anywhere, inTexts] of quoted.matchAll(escape)) {
      if (anywhere === undefined && (inTexts === undefined || bytes !== "")) return written;
    }
  }
  return undefined;
}
