// Text that JSON and a terminal leave as it is.

/** Printable ASCII without quotation mark and backslash: between quotation marks it is JSON, with nothing to escape. */
export const plainText: RegExp = /^[ !#-[\]-~]*$/;
