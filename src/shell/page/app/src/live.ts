// What the page shows of the node: read once, and read again whenever an event says that something has changed.
import { ask, Problem, whenSignedOut } from "./api";
import { Store } from "./store";
import type { Call, Device, Move, Page, Quality, Registration, Session, Status } from "./types";

/** How long changes are gathered before the lists are read again, ms. */
const GATHER = 60;
/** How often they are read again without any event, ms: what changes without one is a countdown at most. */
const REFRESH = 20_000;
/** How often the quality of own calls is asked for, ms. */
const QUALITY = 5_000;
/** Moves shown before somebody asks for more. */
const MOVES = 25;

export interface State {
  /** undefined: not asked yet. null: nobody is signed in. */
  session: Session | null | undefined;
  /** Said on the sign-in view. */
  notice: string | null;
  calls: Call[];
  devices: Device[];
  registrations: Registration[];
  moves: Move[];
  status: Status | null;
  quality: Record<string, Quality>;
  /** Whether events come in. */
  isLive: boolean;
  /** When the lists were read; hold-offs count down from here. */
  readAt: number;
  failure: string | null;
}

const NOTHING = { calls: [], devices: [], registrations: [], moves: [], status: null, quality: {} };

export const live = new Store<State>({
  session: undefined,
  notice: null,
  ...NOTHING,
  isLive: false,
  readAt: Date.now(),
  failure: null,
});

let source: EventSource | null = null;
let timers: ReturnType<typeof setInterval>[] = [];
let pending: ReturnType<typeof setTimeout> | null = null;
const listeners = new Set<(kind: string, data: Record<string, unknown>) => void>();

whenSignedOut(() => end("Your session has ended. Sign in again."));

/** Who is signed in; asked when the page is loaded. */
export async function begin(): Promise<void> {
  try {
    await open(await ask<Session>("GET", "/session"));
  } catch (error) {
    const notice = error instanceof Problem && error.status !== 401 ? error.message : null;
    live.set({ session: null, notice });
  }
}

export async function signIn(user: string, password: string): Promise<void> {
  await open(await ask<Session>("POST", "/session", { user, password, scopes: ["user", "admin"] }));
}

export async function signOut(): Promise<void> {
  try {
    await ask("DELETE", "/session");
  } finally {
    end("You are signed out.");
  }
}

export const isAdmin = (state: State) => state.session?.scopes.includes("admin") ?? false;
/** The name of whoever is signed in. */
export const me = (state: State) => state.session?.user ?? "";

/** Hears every event as it comes. */
export function onEvent(hear: (kind: string, data: Record<string, unknown>) => void): () => void {
  listeners.add(hear);
  return () => listeners.delete(hear);
}

async function open(session: Session): Promise<void> {
  live.set({ session, notice: null });
  follow();
  timers = [setInterval(() => void read(), REFRESH), setInterval(() => void readQuality(), QUALITY)];
  await read();
}

function end(notice: string): void {
  source?.close();
  source = null;
  timers.forEach(clearInterval);
  timers = [];
  if (live.get().session === undefined) notice = "";
  live.set({ session: null, notice: notice || null, isLive: false, failure: null, ...NOTHING });
}

function follow(): void {
  source?.close();
  source = new EventSource("/v1/events?types=call,move,hold_off,registration");
  source.onopen = () => {
    live.set({ isLive: true });
    readSoon();
  };
  source.onerror = () => {
    live.set({ isLive: false });
    // A stream that the node refused is not tried again by the browser: the next read finds out why.
    if (source?.readyState === EventSource.CLOSED) {
      setTimeout(() => live.get().session && void read().then(() => live.get().session && follow()), 3000);
    }
  };
  const kinds = [
    "call.ringing", "call.answered", "call.held", "call.ended",
    "move.requested", "move.authorized", "move.refused", "move.switched", "move.rolled_back", "move.undone",
    "hold_off.started", "hold_off.rejected", "hold_off.ended", "registration.added", "registration.removed", "stream.gap",
  ];
  for (const kind of kinds) {
    source.addEventListener(kind, (event) => {
      const data = (JSON.parse((event as MessageEvent<string>).data) as { data?: Record<string, unknown> }).data ?? {};
      listeners.forEach((hear) => hear(kind, data));
      readSoon();
    });
  }
}

export function readSoon(): void {
  pending ??= setTimeout(() => {
    pending = null;
    void read();
  }, GATHER);
}

async function read(): Promise<void> {
  const state = live.get();
  if (!state.session) return;
  try {
    const [calls, devices, registrations, moves, status] = await Promise.all([
      ask<Page<Call>>("GET", "/calls?limit=500"),
      ask<Page<Device>>("GET", "/devices?limit=500"),
      ask<Page<Registration>>("GET", "/registrations?limit=500"),
      ask<Page<Move>>("GET", `/moves?limit=${MOVES}`),
      isAdmin(state) ? ask<Status>("GET", "/status") : Promise.resolve(null),
    ]);
    if (!live.get().session) return;
    live.set({
      calls: calls.items,
      devices: devices.items,
      registrations: registrations.items,
      moves: moves.items,
      status,
      readAt: Date.now(),
      failure: null,
    });
  } catch (error) {
    if (live.get().session) live.set({ failure: error instanceof Error ? error.message : String(error) });
  }
}

async function readQuality(): Promise<void> {
  const state = live.get();
  const own = state.calls.filter((call) => call.answered && call.legs.some((leg) => leg.user === me(state)));
  const quality: Record<string, Quality> = {};
  for (const call of own.slice(0, 4)) {
    const found = await ask<Quality>("GET", `/quality/${call.id}`).catch(() => null);
    if (found) quality[call.id] = found;
  }
  if (live.get().session) live.set({ quality });
}
