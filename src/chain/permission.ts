// Permissions: `resource:action` where one is required; `resource:*` and `*` besides where they are granted.

const concrete = /^[^\s:*\p{Cc}]+:[^\s:*\p{Cc}]+$/u;
const resourceWildcard = /^[^\s:*\p{Cc}]+:\*$/u;

/** Everything, as a grant. */
export const everyPermission = "*";

/** `resource:action`, without wildcards: what a rule may require. */
export function isConcretePermission(permission: string): boolean {
  return concrete.test(permission);
}

/** What a grant may look like, for errors. */
export const grantForms = "resource:action, resource:* or *";

/** `resource:action`, `resource:*` or `*`: what a role or a credential may grant. Any other text meets no rule. */
export function isGrantablePermission(permission: string): boolean {
  return permission === everyPermission || concrete.test(permission) || resourceWildcard.test(permission);
}

/** `resource:*` for `resource:action`. */
export function wildcardOf(permission: string): string {
  return `${permission.slice(0, permission.indexOf(":"))}:*`;
}

/** Does the grant cover the concrete permission that is required? */
export function covers(granted: string, required: string): boolean {
  return granted === required || granted === everyPermission || granted === wildcardOf(required);
}
