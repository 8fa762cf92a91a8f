import { type ArgumentsHost, Catch, type RpcExceptionFilter } from "@nestjs/common";
import { type Observable, throwError } from "rxjs";
import { StatusError } from "../grpc/errors.ts";

/**
 * Lets a `StatusError` through NestJS, which knows `RpcException` alone and makes an internal error of everything else.
 * With it `requirePrincipal(call)` and `throw new StatusError(…)` do in a controller what they do in any handler. Calls
 * that came over other transports of a hybrid application are left alone: there it throws the error on.
 *
 * @example
 * app.useGlobalFilters(new StatusErrorFilter());
 */
export class StatusErrorFilter implements RpcExceptionFilter<StatusError> {
  catch(exception: StatusError, host: ArgumentsHost): Observable<never> {
    if (host.getType() !== "rpc") throw exception;
    return throwError(() => exception);
  }
}
// What `@Catch(StatusError)` does: decorators are not in the language yet.
Catch(StatusError)(StatusErrorFilter);
