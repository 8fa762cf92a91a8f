// What a token or an API key may consist of. What is wrong is said without showing it.

/**
 * What is wrong with a token or key, or undefined. Anything but printable ASCII would be refused, or cut, somewhere on
 * the way; a line break is how one header becomes two (RFC 9110 section 5.5).
 */
export function secretProblem(value: unknown): string | undefined {
  if (typeof value !== "string") return `is not a string but ${value === null ? "null" : typeof value}`;
  if (value === "") return "is empty";
  if (/^[Bb]earer\s/.test(value)) return 'starts with the word "Bearer"; give the token alone';
  if (/[\r\n]$/.test(value)) {
    return "ends with a line break, which text read from a file often has; remove it with trim(): only printable ASCII can be sent";
  }
  if (!/^[\x21-\x7e]+$/.test(value))
    return "has characters other than printable ASCII without spaces; if there are spaces around it, remove them with trim()";
  return undefined;
}
