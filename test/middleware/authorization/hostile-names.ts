/** Names that a page, a table or a terminal might obey. */
export const hostileNames: readonly string[] = [
  "<script>alert(1)</script>",
  '"><img src=x onerror=alert(1)>',
  "'><svg/onload=alert(1)>",
  "</td></tr></table><h1>owned",
  "</script><script>alert(1)</script>",
  "</option></select><script>alert(1)</script>",
  "<!--",
  "-->",
  "a|b",
  "a\\|b",
  "[click](javascript:alert(1))",
  "![x](//example.com/x.png)",
  "@everyone #1 GH-1",
  "`x` *y* _z_ ~w~ \\ #h !i &lt;",
  "&amp;&#60;script&#62;",
  "</style><style>*{display:none}",
];
