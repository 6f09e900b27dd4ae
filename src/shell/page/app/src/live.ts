// What the page shows of the node: read once, and read again whenever an event says that something has changed.
import { ask, Problem, whenSignedOut } from "./api";
import { Store } from "./store";
import type { Call, Device, HotDesk, Move, Page, Quality, Registration, Session, Status, User } from "./types";

/** How long changes are gathered before the lists are read again, ms. */
const GATHER = 60;
/** Of an administrator's events most are about others: so long between two reads, ms. */
const PAUSE = 1_000;
/** How often they are read again without any event, ms: what changes without one is a countdown at most. */
const REFRESH = 20_000;
/** How often the quality of own calls is asked for, ms. */
const QUALITY = 5_000;
/** A page that nobody looks at gives its stream back after this time, ms: a browser has six connections to one host. */
const HIDDEN = 5_000;
/** Until a stream that was refused is tried again, ms, doubled each time. */
const RETRY = { first: 2_000, last: 30_000 };
/** Moves shown before somebody asks for more. */
const MOVES = 25;

export interface Lists {
  calls: Call[];
  devices: Device[];
  registrations: Registration[];
  moves: Move[];
}

export interface Everything extends Lists {
  status: Status;
}

export interface State extends Lists {
  /** undefined: not asked yet. null: nobody is signed in. */
  session: Session | null | undefined;
  /** Said on the sign-in view. */
  notice: string | null;
  /** Everybody's, while an administrator looks. */
  node: Everything | null;
  quality: Record<string, Quality>;
  /** Where the user is signed in by the keys of a shared phone. */
  hotDesk: HotDesk | null;
  /** Whether events come in. */
  isLive: boolean;
  /** When the lists were read; hold-offs count down from here. */
  readAt: number;
  failure: string | null;
}

const NOTHING = { calls: [], devices: [], registrations: [], moves: [], node: null, quality: {}, hotDesk: null };

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
let hiding: ReturnType<typeof setTimeout> | undefined;
let retry: number = RETRY.first;
let isReading = false;
/** Something changed while the lists were read. */
let isStale = false;
let isNodeShown = false;
const listeners = new Set<(kind: string, data: Record<string, unknown>) => void>();

whenSignedOut(() => live.get().session !== null && end("Your session has ended. Sign in again."));
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (document.visibilityState === "hidden") {
    hiding = setTimeout(unfollow, HIDDEN);
  } else if (live.get().session && !source) {
    follow();
  }
});

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

/** Where it fails the cookie is still there, and so is the session. */
export async function signOut(): Promise<void> {
  try {
    await ask("DELETE", "/session");
  } catch (error) {
    if (!(error instanceof Problem && error.status === 401)) {
      throw new Error(`You are still signed in. ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  end("You are signed out.");
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
  unfollow();
  timers.forEach(clearInterval);
  timers = [];
  if (live.get().session === undefined) notice = "";
  live.set({ session: null, notice: notice || null, isLive: false, failure: null, ...NOTHING });
}

/** Keeps everybody's lists up to date as well, for as long as they are shown. */
export function showNode(isShown: boolean): void {
  isNodeShown = isShown;
  if (isShown) void read();
}

function unfollow(): void {
  source?.close();
  source = null;
  live.set({ isLive: false });
}

function follow(): void {
  unfollow();
  // Opened behind another page.
  clearTimeout(hiding);
  if (document.visibilityState === "hidden") hiding = setTimeout(unfollow, HIDDEN);
  const stream = new EventSource("/v1/events?types=call,move,hold_off,registration");
  source = stream;
  stream.onopen = () => {
    retry = RETRY.first;
    live.set({ isLive: true });
    readSoon();
  };
  stream.onerror = () => {
    if (source !== stream) return;
    live.set({ isLive: false });
    // A stream that the node refused is not tried again by the browser: a read finds out why.
    if (stream.readyState !== EventSource.CLOSED) return;
    setTimeout(() => {
      if (source !== stream) return;
      readSoon();
      follow();
    }, retry);
    retry = Math.min(2 * retry, RETRY.last);
  };
  const kinds = [
    "call.ringing", "call.answered", "call.held", "call.ended",
    "move.requested", "move.authorized", "move.refused", "move.switched", "move.rolled_back", "move.undone",
    "hold_off.started", "hold_off.rejected", "hold_off.ended", "registration.added", "registration.removed",
    "registration.signed_in", "registration.signed_out", "stream.gap",
  ];
  for (const kind of kinds) {
    stream.addEventListener(kind, (event) => {
      const data = (JSON.parse((event as MessageEvent<string>).data) as { data?: Record<string, unknown> }).data ?? {};
      listeners.forEach((hear) => hear(kind, data));
      readSoon();
    });
  }
}

export function readSoon(): void {
  const wait = isAdmin(live.get()) ? Math.max(GATHER, live.get().readAt + PAUSE - Date.now()) : GATHER;
  pending ??= setTimeout(() => void read(), wait);
}

/** One at a time, so that what was asked earlier never comes later. */
async function read(): Promise<void> {
  if (pending) clearTimeout(pending);
  pending = null;
  const { session } = live.get();
  if (!session) return;
  isStale = isReading;
  if (isReading) return;
  isReading = true;
  let change: Partial<State>;
  try {
    const [own, user, node] = await Promise.all([
      lists(`user=${encodeURIComponent(session.user ?? "")}&`),
      session.user === null ? null : ask<User>("GET", `/users/${encodeURIComponent(session.user)}`),
      isAdmin(live.get()) && isNodeShown ? everything() : null,
    ]);
    change = { ...own, hotDesk: user?.hot_desk ?? null, node, readAt: Date.now(), failure: null };
  } catch (error) {
    change = { failure: error instanceof Error ? error.message : String(error) };
  }
  isReading = false;
  // An answer to somebody who has signed out since is nobody's.
  if (live.get().session === session) live.set(change);
  if (isStale) readSoon();
}

async function lists(whose: string): Promise<Lists> {
  const [calls, devices, registrations, moves] = await Promise.all([
    ask<Page<Call>>("GET", `/calls?${whose}limit=500`),
    ask<Page<Device>>("GET", `/devices?${whose}limit=500`),
    ask<Page<Registration>>("GET", `/registrations?${whose}limit=500`),
    ask<Page<Move>>("GET", `/moves?${whose}limit=${MOVES}`),
  ]);
  return { calls: calls.items, devices: devices.items, registrations: registrations.items, moves: moves.items };
}

async function everything(): Promise<Everything> {
  const [all, status] = await Promise.all([lists(""), ask<Status>("GET", "/status")]);
  return { ...all, status };
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
