export { addressKey, peerKey } from "../../call/peer-key.ts";
