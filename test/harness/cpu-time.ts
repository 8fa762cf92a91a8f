// The time that this process has computed, in milliseconds. Other processes on a busy machine are not in it, so that what
// is compared by it does not depend on them.
export function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
