// Bare grpc-js: default options, no security layer. What all others are compared with.
import { startGrpcJs } from "./grpc-js.ts";
import { serve } from "./serve.ts";

serve((settings) => startGrpcJs(settings, settings.channelz ? {} : { "grpc.enable_channelz": 0 }));
