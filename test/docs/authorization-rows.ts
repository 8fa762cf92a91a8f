// What callers get of the service in docs/authorization, whichever way it is secured.

export type Way =
  | "rbac"
  | "rbacFile"
  | "rulesFromProto"
  | "when"
  | "cel"
  | "grpcPolicy"
  | "opa"
  | "opaWasm"
  | "own";

export interface Row {
  readonly caller: "nobody" | "guest" | "shop" | "warehouse";
  readonly method: "GetTerms" | "ListOrders" | "ImportOrders" | "ChangeOrders";
  /** The orders that the caller sends. */
  readonly ids: readonly number[];
  readonly status: string;
  /** Where a way cannot say what the rules say. */
  readonly but?: { readonly status: string; readonly by: readonly Way[] };
}

/** They do not look at the request. */
const blind: Row["but"] = { status: "OK", by: ["rbac", "grpcPolicy"] };
/** It decides about callers without a certificate too, and what it denies is one status. */
const withoutLogin: Row["but"] = { status: "PERMISSION_DENIED", by: ["grpcPolicy"] };

export const rows: readonly Row[] = [
  { caller: "nobody", method: "GetTerms", ids: [], status: "OK" },
  { caller: "nobody", method: "ListOrders", ids: [], status: "UNAUTHENTICATED", but: withoutLogin },
  { caller: "nobody", method: "ChangeOrders", ids: [1], status: "UNAUTHENTICATED", but: withoutLogin },
  { caller: "guest", method: "GetTerms", ids: [], status: "OK" },
  { caller: "guest", method: "ListOrders", ids: [], status: "PERMISSION_DENIED" },
  { caller: "shop", method: "ListOrders", ids: [], status: "OK" },
  { caller: "shop", method: "ImportOrders", ids: [2], status: "PERMISSION_DENIED" },
  { caller: "shop", method: "ChangeOrders", ids: [2], status: "PERMISSION_DENIED" },
  { caller: "warehouse", method: "ListOrders", ids: [], status: "OK" },
  { caller: "warehouse", method: "ImportOrders", ids: [1, 2], status: "OK" },
  { caller: "warehouse", method: "ChangeOrders", ids: [1], status: "OK" },
  { caller: "warehouse", method: "ChangeOrders", ids: [2], status: "PERMISSION_DENIED", but: blind },
  { caller: "warehouse", method: "ChangeOrders", ids: [1, 2], status: "PERMISSION_DENIED", but: blind },
];

/** What `calls.js` of the pages prints, a line a call. */
export function linesBy(way: Way): readonly string[] {
  return rows.map(({ caller, method, ids, status, but }) =>
    [caller, method, ...ids, but?.by.includes(way) === true ? but.status : status].join(" "),
  );
}

/** The table of docs/authorization/service.md: its cells, without what aligns them. */
export function tableRows(): readonly (readonly string[])[] {
  return [
    ["caller", "method", "orders", "status", "another status with"],
    ...rows.map(({ caller, method, ids, status, but }) => [
      `\`${caller}\``,
      `\`${method}\``,
      ids.join(", "),
      status,
      but === undefined ? "" : `${but.status}: ${but.by.map((way) => `\`${way}\``).join(", ")}`,
    ]),
  ];
}
