// Tells when a file holds something else than when it was read last.
import { FileWatch } from "./file-watch.ts";

export interface ContentWatchOptions {
  readonly path: string;
  /** The content, or what stands for it, such as a digest; undefined where it cannot be read now. */
  readonly content: () => string | undefined;
  /** The same when the file was read last. */
  readonly seen: string | undefined;
}

/** Calls `listener` at each change. What it throws is dropped. Returns what ends it. */
export function watchContent({ path, content, seen }: ContentWatchOptions, listener: () => void): () => void {
  let last = seen;
  const watch = new FileWatch({
    paths: [path],
    onChange: () => {
      const now = content();
      if (now === last) return;
      last = now;
      try {
        listener();
      } catch {
        // This runs in a timer, where a throw would end the process.
      }
    },
  });
  return () => watch.stop();
}
