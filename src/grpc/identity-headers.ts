// The headers in which one service names to the next the user for whom it calls. They prove nothing by themselves.

export const identityHeaders = { user: "x-user-id", tenant: "x-tenant-id" } as const;

const oneName = /^[!-+\--~](?:[ -+\--~]{0,254}[!-+\--~])?$/;

/**
 * May this stand in such a header? 1 to 256 printable ASCII characters, without a comma, which HTTP/2 puts between the values of
 * a header that came twice, and without white space at the ends.
 */
export function isOneName(text: string): boolean {
  return oneName.test(text);
}
