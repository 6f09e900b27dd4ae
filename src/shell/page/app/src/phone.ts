// The browser as a phone: JsSIP over a WebSocket, with credentials that end with the session.
import { UA, WebSocketInterface, type IncomingRTCSessionEvent, type RTCSession, type RTCSessionEvent } from "./jssip";
import { ask } from "./api";
import { onEvent } from "./live";
import { Store } from "./store";
import type { Credentials, Move } from "./types";
import { failure, isOver, reason } from "./words";

/** How long the WebSocket and the registration may take, ms. */
const CONNECT = 8_000;
/** How long a move may take, ms. The node gives up on a device that does not answer earlier. */
const MOVE = 40_000;
/** An INVITE within this time of our own request, with a hint to answer by itself, is the call that we asked for, ms. */
const EXPECTED = 20_000;
/** What the tab remembers when it is loaded anew: which device it was, and that it was one. */
const REMEMBERED = "segue.phone";

export type Line =
  | { state: "idle" }
  | { state: "incoming" | "calling" | "connecting"; who: string }
  | { state: "talking"; who: string; since: number; isMuted: boolean; isHeld: boolean; isHeldByThem: boolean };

export interface PhoneState {
  state: "off" | "connecting" | "ready" | "lost";
  device: string | null;
  line: Line;
  /** What went wrong last. */
  failure: string | null;
  /** The call that is being taken here. */
  taking: string | null;
  /** From the click to the call being here, ms. */
  took: number | null;
}

export const phone = new Store<PhoneState>({
  state: "off",
  device: null,
  line: { state: "idle" },
  failure: null,
  taking: null,
  took: null,
});

let ua: UA | null = null;
let session: RTCSession | null = null;
/** The microphone, opened at the click. */
let microphone: Promise<MediaStream> | null = null;
let expectedUntil = 0;
const speaker = new Audio();
speaker.autoplay = true;
speaker.hidden = true;
document.body.append(speaker);

/** Becomes a phone; nothing where it is one already. */
export async function turnOn(): Promise<void> {
  if (phone.get().state === "ready") return;
  phone.set({ state: "connecting", failure: null });
  try {
    const remembered = recall();
    const given = await ask<Credentials>("POST", "/session/phone", { device: remembered?.device ?? null });
    const instance = remembered?.device === given.device ? remembered.instance : crypto.randomUUID?.() ?? randomInstance();
    sessionStorage.setItem(REMEMBERED, JSON.stringify({ device: given.device, instance }));
    await register(given, instance);
    phone.set({ state: "ready", device: given.device });
  } catch (error) {
    stop();
    phone.set({ state: "off", failure: failure(error) });
    throw error;
  }
}

/** Is no phone any more; what it has of a call ends. */
export async function turnOff(): Promise<void> {
  const { device } = phone.get();
  hangUp();
  stop();
  sessionStorage.removeItem(REMEMBERED);
  phone.set({ state: "off", device: null, line: { state: "idle" }, taking: null, failure: null });
  if (device) await ask("DELETE", `/session/phone/${device}`).catch(() => {});
}

/** Was it a phone before the page was loaded anew? */
export function wasOn(): boolean {
  return recall() !== null;
}

/** The session is over: everything goes, and the node has taken its side back already. */
export function forget(): void {
  hangUp();
  stop();
  sessionStorage.removeItem(REMEMBERED);
  phone.set({ state: "off", device: null, line: { state: "idle" }, taking: null, failure: null, took: null });
}

/**
 * Takes a live call of the user's from the device that has it. Where that is the device of this tab before it was loaded
 * anew, the tab becomes another one: a call does not move to where it is.
 */
export async function takeHere(call: string, user: string, isOnOurDevice: boolean): Promise<void> {
  const begun = performance.now();
  phone.set({ taking: call, failure: null, took: null });
  try {
    if (isOnOurDevice) {
      stop();
      sessionStorage.removeItem(REMEMBERED);
      phone.set({ state: "off", device: null });
    }
    // Asked for at once: the person's answer, the WebSocket and the registration take their time side by side.
    const listening = openMicrophone();
    listening.catch(() => {});
    await turnOn();
    await listening;
    expectedUntil = Date.now() + EXPECTED;
    const move = await ask<Move>("POST", "/moves", { call, to_device: phone.get().device, mode: "auto-answer", user });
    const ended = await finalState(move.id);
    if (ended.state !== "done") throw new Error(`The call stays where it is. ${reason(ended.reason ?? "cancelled")}`);
    phone.set({ took: performance.now() - begun });
  } catch (error) {
    if (!session) closeMicrophone();
    phone.set({ failure: failure(error) });
  } finally {
    expectedUntil = 0;
    phone.set({ taking: null });
  }
}

/** Sends a call to another device; resolves when the call is there. */
export async function sendTo(call: string, device: string, user: string): Promise<void> {
  const move = await ask<Move>("POST", "/moves", { call, to_device: device, mode: "auto-answer", user });
  const ended = await finalState(move.id);
  if (ended.state !== "done") throw new Error(`The call stays where it is. ${reason(ended.reason ?? "cancelled")}`);
}

export async function undo(move: string): Promise<void> {
  const back = await ask<Move>("POST", `/moves/${move}/undo`);
  const ended = await finalState(back.id);
  const isBack = ended.state === "done" || (back.id === move && ended.state === "rolled_back");
  if (!isBack) throw new Error(`The call stays where it is. ${reason(ended.reason ?? "cancelled")}`);
}

export async function answer(): Promise<void> {
  if (!session) return;
  try {
    accept(session, await openMicrophone());
  } catch (error) {
    phone.set({ failure: failure(error) });
  }
}

export async function dial(number: string): Promise<void> {
  phone.set({ failure: null });
  try {
    const listening = openMicrophone();
    listening.catch(() => {});
    await turnOn();
    const stream = await listening;
    ua?.call(number, { mediaStream: stream, pcConfig: { iceServers: [] } });
  } catch (error) {
    phone.set({ failure: failure(error) });
  }
}

export function hangUp(): void {
  if (session && !session.isEnded()) session.terminate();
}

export function mute(isMuted: boolean): void {
  if (isMuted) session?.mute({ audio: true });
  else session?.unmute({ audio: true });
}

export function hold(isHeld: boolean): void {
  const done = isHeld ? session?.hold() : session?.unhold();
  if (done === false) phone.set({ failure: "The call cannot be held or taken up again at this moment." });
}

export function digit(key: string): void {
  session?.sendDTMF(key, { transportType: "RFC2833" as never });
}

function recall(): { device: string; instance: string } | null {
  try {
    const found = JSON.parse(sessionStorage.getItem(REMEMBERED) ?? "null") as { device: string; instance: string } | null;
    return found?.device && found.instance ? found : null;
  } catch {
    return null;
  }
}

/** `crypto.randomUUID` is there in secure contexts only. */
function randomInstance(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20)}`;
}

function register(given: Credentials, instance: string): Promise<void> {
  stop();
  const agent = new UA({
    sockets: [new WebSocketInterface(given.ws_uri)],
    uri: given.uri,
    authorization_user: given.auth_user,
    password: given.password,
    instance_id: instance,
    register: true,
    register_expires: 120,
    connection_recovery_min_interval: 1,
    connection_recovery_max_interval: 8,
    no_answer_timeout: 60,
    user_agent: "segue page",
  });
  ua = agent;
  agent.on("newRTCSession", (event: RTCSessionEvent) => began(event));
  agent.on("disconnected", () => {
    if (ua === agent && phone.get().state === "ready") phone.set({ state: "lost" });
  });
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => {
      reject(new Error(`The node does not answer at ${given.ws_uri}. Is the WebSocket reachable from here?`));
    }, CONNECT);
    agent.on("registered", () => {
      clearTimeout(late);
      if (phone.get().state === "lost") phone.set({ state: "ready" });
      resolve();
    });
    agent.on("registrationFailed", (event: { cause?: string; response?: { status_code: number } | null }) => {
      if (ua !== agent || (!event.response && event.cause === "Connection Error")) return;
      clearTimeout(late);
      phone.set({ state: "off" });
      reject(new Error(`This browser could not be registered (${event.response?.status_code ?? event.cause ?? "no answer"}).`));
    });
    agent.start();
  });
}

function stop(): void {
  const old = ua;
  ua = null;
  old?.stop();
}

async function openMicrophone(): Promise<MediaStream> {
  const devices = navigator.mediaDevices as MediaDevices | undefined;
  if (!devices) {
    throw new Error("Browsers give a microphone only to pages that came over HTTPS, or from this machine itself.");
  }
  if (microphone) {
    const stream = await microphone;
    if (stream.getAudioTracks().some((track) => track.readyState === "live")) return stream;
  }
  const opening = devices.getUserMedia({ audio: true });
  microphone = opening;
  try {
    return await opening;
  } catch (error) {
    if (microphone === opening) microphone = null;
    const name = error instanceof DOMException ? error.name : "";
    if (name === "NotAllowedError") throw new Error("The microphone is blocked. Allow it for this page and try again.");
    if (name === "NotFoundError") throw new Error("There is no microphone.");
    if (name === "NotReadableError") throw new Error("Another program has the microphone.");
    throw error;
  }
}

function closeMicrophone(): void {
  const open = microphone;
  microphone = null;
  open?.then((stream) => stream.getTracks().forEach((track) => track.stop())).catch(() => {});
}

function began(event: RTCSessionEvent): void {
  const { session: fresh } = event;
  if (session && !session.isEnded()) {
    fresh.terminate({ status_code: 486 });
    return;
  }
  session = fresh;
  const isIncoming = event.originator === "remote";
  const who = fresh.remote_identity.display_name || fresh.remote_identity.uri.user;
  phone.set({ line: { state: isIncoming ? "incoming" : "calling", who }, took: null });
  listen(fresh, who);
  if (isIncoming && expectedUntil > Date.now() && answersItself(event as IncomingRTCSessionEvent)) {
    expectedUntil = 0;
    phone.set({ line: { state: "connecting", who } });
    openMicrophone().then(
      (stream) => accept(fresh, stream),
      (error: unknown) => {
        phone.set({ failure: failure(error) });
        fresh.terminate({ status_code: 480 });
      },
    );
  }
}

/** The node says so to devices that may; nobody else's INVITE reaches us. */
function answersItself({ request }: IncomingRTCSessionEvent): boolean {
  return /;\s*answer-after=0/i.test(request.getHeader("Call-Info") ?? "");
}

function accept(fresh: RTCSession, stream: MediaStream): void {
  if (fresh !== session || fresh.isEnded()) return;
  fresh.answer({ mediaStream: stream, pcConfig: { iceServers: [] } });
}

function listen(fresh: RTCSession, who: string): void {
  const talking = (change: Partial<Extract<Line, { state: "talking" }>>) => {
    const { line } = phone.get();
    if (fresh === session && line.state === "talking") phone.set({ line: { ...line, ...change } });
  };
  const over = (failed: string | null) => {
    if (fresh !== session) return;
    session = null;
    speaker.srcObject = null;
    closeMicrophone();
    phone.set({ line: { state: "idle" }, ...(failed === null ? {} : { failure: failed }) });
  };
  // The node knows where we are from our first check, so one address of ours is enough to begin with.
  fresh.on("icecandidate", (event) => event.ready());
  fresh.on("confirmed", () => {
    if (fresh !== session) return;
    const line = { state: "talking" as const, who, since: Date.now(), isMuted: false, isHeld: false, isHeldByThem: false };
    phone.set({ line });
  });
  fresh.on("accepted", () => {
    if (fresh === session && phone.get().line.state !== "talking") phone.set({ line: { state: "connecting", who } });
  });
  fresh.on("muted", () => talking({ isMuted: true }));
  fresh.on("unmuted", () => talking({ isMuted: false }));
  fresh.on("hold", ({ originator }) => talking(originator === "local" ? { isHeld: true } : { isHeldByThem: true }));
  fresh.on("unhold", ({ originator }) => talking(originator === "local" ? { isHeld: false } : { isHeldByThem: false }));
  fresh.on("ended", () => over(null));
  fresh.on("failed", ({ originator, cause }) => {
    const isNews = originator !== "local" && cause !== "Canceled";
    over(isNews ? `The call came to nothing: ${cause}.` : null);
  });
  const hear = (connection: RTCPeerConnection) => {
    connection.addEventListener("track", ({ streams, track }) => {
      speaker.srcObject = streams[0] ?? new MediaStream([track]);
    });
  };
  if (fresh.connection) hear(fresh.connection);
  fresh.on("peerconnection", ({ peerconnection }) => hear(peerconnection));
}

/** Waits until a move is over: told by an event, and asked for now and then in case that one is lost. */
function finalState(id: string): Promise<Move> {
  return new Promise((resolve, reject) => {
    let isAsking = false;
    const look = async () => {
      if (isAsking) return;
      isAsking = true;
      try {
        const move = await ask<Move>("GET", `/moves/${id}`);
        if (isOver(move.state)) finish(() => resolve(move));
      } catch (error) {
        finish(() => reject(error instanceof Error ? error : new Error(String(error))));
      } finally {
        isAsking = false;
      }
    };
    const unhear = onEvent((kind, data) => {
      if (kind.startsWith("move.") && data["move"] === id) void look();
    });
    const every = setInterval(() => void look(), 500);
    const late = setTimeout(() => finish(() => reject(new Error("The move takes too long."))), MOVE);
    const finish = (then: () => void) => {
      unhear();
      clearInterval(every);
      clearTimeout(late);
      then();
    };
    void look();
  });
}
