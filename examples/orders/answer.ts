// A call as its caller sees it: how it ended, and what it brought.
import {
  type ClientDuplexStream,
  type ClientReadableStream,
  type requestCallback,
  type StatusObject,
  status,
} from "@grpc/grpc-js";

export interface Answer<Message> {
  /** `OK`, or the code and the text that the caller was told. */
  readonly status: string;
  readonly messages: readonly Message[];
}

/** For calls with one response: `start` makes the call with the callback it is given. */
export function answered<Message>(
  start: (callback: requestCallback<Message>) => unknown,
): Promise<Answer<Message>> {
  return new Promise((resolve) => {
    start((error, message) =>
      resolve({
        status: error === null ? "OK" : statusText(error),
        messages: message === undefined ? [] : [message],
      }),
    );
  });
}

/** For calls with a stream of responses. */
export function streamed<Request, Message>(
  call: ClientReadableStream<Message> | ClientDuplexStream<Request, Message>,
): Promise<Answer<Message>> {
  return new Promise((resolve) => {
    const messages: Message[] = [];
    call.on("data", (message: Message) => messages.push(message));
    // Said again by the status below; without a listener it would be thrown.
    call.on("error", () => {});
    call.on("status", (ended: StatusObject) => resolve({ status: statusText(ended), messages }));
  });
}

const uuid = /[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g;

/** Error ids are left out: they are different each time. */
export function statusText({ code, details }: Pick<StatusObject, "code" | "details">): string {
  return code === status.OK ? "OK" : `${status[code]} ${details.replace(uuid, "…")}`;
}
