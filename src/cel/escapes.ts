// Escapes in the texts of an expression that the language does not have: the parser of the library takes them.

/** The parser has no comments, and a raw text has no escapes. Each piece is a text with what stands before it, or one character. */
const piece =
  /([bB]?)("""(?:\\[\s\S]|[^\\])*?"""|'''(?:\\[\s\S]|[^\\])*?'''|"(?:\\[\s\S]|[^"\\])*"|'(?:\\[\s\S]|[^'\\])*')|(?:[bB]?[rR]|[rR][bB])(?:"""[\s\S]*?"""|'''[\s\S]*?'''|"[^"]*"|'[^']*')|[\s\S]/g;

const written =
  /\\(?:([abfnrtv\\?"'`]|[0-3][0-7]{2}|[xX][0-9a-fA-F]{2})|(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})|[\s\S])/g;

/** The first of them, as it stands there. */
export function unknownEscape(text: string): string | undefined {
  for (const [, bytes, quoted] of text.matchAll(piece)) {
    if (quoted === undefined) continue;
    for (const [asWritten, anywhere, inTexts] of quoted.matchAll(written)) {
      if (anywhere === undefined && (inTexts === undefined || bytes !== "")) return asWritten;
    }
  }
  return undefined;
}
