// A worker of the test runner ends when the runner is gone. Node closes the channel between them then, and a worker whose
// tests left a server listening would stay.
const endWithRunner = 'process.once("disconnect", () => process.kill(process.pid, "SIGKILL"));';

export const workerArguments: string[] = [
  "--import",
  `data:text/javascript,${encodeURIComponent(endWithRunner)}`,
];
