// The embedded store: nothing to install, and empty after a restart.
import type { Account, IdentityStore, Session } from "./identity-store.ts";

export function memoryIdentityStore(): IdentityStore {
  const accounts = new Map<string, Account>();
  const sessions = new Map<string, Session>();
  const change = (id: string, changed: Partial<Session>): void => {
    const session = sessions.get(id);
    if (session !== undefined) sessions.set(id, { ...session, ...changed });
  };
  return {
    async addAccount(account) {
      accounts.set(account.user.email.toLowerCase(), account);
    },
    accountByEmail: async (email) => accounts.get(email.toLowerCase()),
    userById: async (id) => [...accounts.values()].find(({ user }) => user.id === id)?.user,
    async addSession(session) {
      sessions.set(session.id, session);
    },
    sessionById: async (id) => sessions.get(id),
    async rotate(id, was, next) {
      const session = sessions.get(id);
      if (session === undefined || session.ended || session.refreshDigest !== was) return false;
      change(id, next);
      return true;
    },
    endSession: async (id) => change(id, { ended: true }),
    close: async () => {},
  };
}
