/**
 * What a controller, guard or pipe threw, and what becomes of it. NestJS's last exception filter makes a plain object
 * of an `RpcException`, and the same "Internal server error" of everything else; neither says what it was. So each object
 * is remembered with its exception, which the log then shows.
 */
import { status } from "@grpc/grpc-js";
import { HttpException, HttpStatus } from "@nestjs/common";
import { BaseRpcExceptionFilter, RpcException } from "@nestjs/microservices";
import { isObservable, tap } from "rxjs";
import { isOutgoingCallError, isStatusShaped, StatusError } from "../grpc/errors.ts";

/** By the object that NestJS made of it. Held no longer than that. */
const exceptions = new WeakMap<object, unknown>();

let watching = false;

/**
 * Watches NestJS's last exception filter, which offers no place for it: what it answers is as it was, on every transport.
 * Filters of the application come before it and are not seen.
 */
export function watchExceptions(): void {
  if (watching) return;
  watching = true;
  const { prototype } = BaseRpcExceptionFilter;
  const { catch: answer } = prototype;
  prototype.catch = function watchedCatch(exception, host) {
    const answered = answer.call(this, exception, host);
    if (!isObservable(answered)) return answered;
    return answered.pipe(
      tap({
        error: (told: unknown) => {
          if (typeof told === "object" && told !== null) exceptions.set(told, exception);
        },
      }),
    );
  };
}

/** What the chain is given for the error that came out of NestJS: what was said on purpose, or what the log is to say. */
export function failureOf(told: unknown): unknown {
  // What was thrown as an `Error` and is one still was passed on by a filter of the application.
  if (typeof told !== "object" || told === null || told instanceof Error) return told;
  const exception = exceptions.has(told) ? exceptions.get(told) : told;
  return statedOnPurpose(told, exception) ?? refusal(told, exception) ?? unexpected(told, exception);
}

/** NestJS makes a plain object of an `RpcException`'s and of nothing else, so `{ code, message }` was said on purpose. */
function statedOnPurpose(told: object, cause: unknown): StatusError | undefined {
  const { code, message, details } = told as Said;
  const text = details ?? message;
  if (!isFailure(code) || typeof text !== "string") return undefined;
  return new StatusError(code, text, { cause });
}

interface Said {
  readonly code?: unknown;
  readonly message?: unknown;
  readonly details?: unknown;
}

function isFailure(code: unknown): code is status {
  return Number.isInteger(code) && code !== status.OK && status[code as number] !== undefined;
}

/** What NestJS throws for a guard that said no. */
const guardsText = "Forbidden resource";

/** A refusal is one whatever words it has; the caller hears ours. */
function refusal(told: object, cause: unknown): StatusError | undefined {
  if ((told as Said).message === guardsText)
    return new StatusError(status.PERMISSION_DENIED, undefined, { cause });
  if (!(cause instanceof HttpException)) return undefined;
  switch (cause.getStatus()) {
    case HttpStatus.FORBIDDEN:
      return new StatusError(status.PERMISSION_DENIED, undefined, { cause });
    case HttpStatus.UNAUTHORIZED:
      return new StatusError(status.UNAUTHENTICATED, undefined, { cause });
    default:
      return undefined;
  }
}

/** Stays inside. Where it looks as if it was meant for the caller, the log says what was missing. */
function unexpected(told: object, exception: unknown): Error {
  const advice = adviceFor(told, exception);
  if (advice === undefined && exception instanceof Error && !isTakenForAnswer(exception)) return exception;
  return new Error(
    advice ?? "what was thrown is not sent to the caller: only a StatusError or an RpcException is",
    {
      cause: exception,
    },
  );
}

/** A `code` with `details` that is given to the callback is taken for a word to the caller: what was thrown is none. */
function isTakenForAnswer(exception: Error): boolean {
  return isStatusShaped(exception) && !isOutgoingCallError(exception);
}

const howTo = "throw new RpcException({ code: status.NOT_FOUND, message })";

function adviceFor(told: object, exception: unknown): string | undefined {
  if (exception instanceof StatusError) {
    return `a StatusError was not sent to the caller, because NestJS does not know it; ${filterAdvice}`;
  }
  if (exception instanceof HttpException) {
    return `${exception.name} is an HTTP exception and was not sent to the caller; ${howTo}, or a StatusError`;
  }
  if (!(exception instanceof RpcException)) return undefined;
  const { code } = told as Said;
  if (code === undefined) return `an RpcException without a gRPC status was not sent to the caller; ${howTo}`;
  if (isFailure(code))
    return `an RpcException with code ${code} and without a message was not sent to the caller; ${howTo}`;
  const shown =
    typeof code === "string" || typeof code === "number" ? JSON.stringify(code) : `a ${typeof code}`;
  return `an RpcException's code is a gRPC status, a number from 1 to 16, not ${shown}; ${howTo}`;
}

const filterAdvice = "app.useGlobalFilters(new StatusErrorFilter()) is missing";
