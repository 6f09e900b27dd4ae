// The browser as a phone: JsSIP over a WebSocket, with credentials that end with the session.
import { UA, WebSocketInterface, type IncomingRTCSessionEvent, type RTCSession, type RTCSessionEvent } from "./jssip";
import { ask } from "./api";
import { become, leave, recall } from "./lent";
import { live } from "./live";
import { closeMicrophone, openMicrophone } from "./microphone";
import { arrival, request } from "./moves";
import { Store } from "./store";
import type { Credentials, Move } from "./types";
import { failure, hasLegAt } from "./words";

/** How long the WebSocket and the registration may take, ms. */
const CONNECT = 8_000;

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
let socket: WebSocketInterface | null = null;
let session: RTCSession | null = null;
/** Under way from off to ready; whoever wants a phone meanwhile waits for the same. */
let turning: Promise<void> | null = null;
/** How often the phone was stopped: what was begun before that is over. */
let generation = 0;
/** The node does not take this device any more; its call goes on as long as it lasts. */
let isRefused = false;
/** The id of the move that was asked for here: the call that names it is the one to answer. */
let expected: Promise<string> | null = null;
const speaker = new Audio();
speaker.autoplay = true;
speaker.hidden = true;
document.body.append(speaker);

/** Becomes a phone; nothing where it is one already. */
export function turnOn(): Promise<void> {
  const { state, line } = phone.get();
  if (state === "ready") return Promise.resolve();
  if (line.state !== "idle") return Promise.reject(new Error("There is a call here, over a connection that is lost."));
  if (turning) return turning;
  const begun = connect().finally(() => {
    if (turning === begun) turning = null;
  });
  turning = begun;
  return begun;
}

async function connect(): Promise<void> {
  stop();
  const begun = generation;
  const isOver = () => begun !== generation;
  phone.set({ state: "connecting", failure: null });
  try {
    const known = await recall();
    const given = await ask<Credentials>("POST", "/session/phone", { device: known?.device ?? null });
    if (isOver()) {
      void giveBack(given.device);
      throw new Error("This browser was disconnected.");
    }
    const { instance } = become(given.device, known);
    await register(given, instance);
    if (isOver()) throw new Error("This browser was disconnected.");
    phone.set({ state: "ready", device: given.device });
  } catch (error) {
    // Whoever stopped it has said how it is.
    if (!isOver()) {
      stop();
      phone.set({ state: "off", failure: failure(error) });
    }
    throw error;
  }
}

/** Is no phone any more; what it has of a call ends. */
export async function turnOff(): Promise<void> {
  const { device } = phone.get();
  forget();
  if (device) await giveBack(device);
}

/** After the page was loaded anew: a phone again, if it was one. */
export async function resume(): Promise<void> {
  if (live.get().session?.browsers && (await recall())) await turnOn();
}

/** The session is over: everything goes, and the node has taken its side back already. */
export function forget(): void {
  stop();
  leave();
  phone.set({ state: "off", device: null, line: { state: "idle" }, taking: null, failure: null, took: null });
}

const giveBack = (device: string) => ask("DELETE", `/session/phone/${device}`).catch(() => {});

/** Takes a live call of the user's from the device that has it. */
export async function takeHere(call: string, user: string): Promise<void> {
  const begun = performance.now();
  const wasOff = phone.get().state === "off";
  phone.set({ taking: call, failure: null, took: null });
  try {
    // Asked for at once: the person's answer, the WebSocket and the registration take their time side by side.
    const listening = openMicrophone();
    listening.catch(() => {});
    await turnOn();
    const before = await leaveDeviceOf(call, user);
    await listening;
    const asked = request(call, phone.get().device, user);
    expected = asked;
    await arrival(await asked);
    phone.set({ took: performance.now() - begun });
    if (before) void giveBack(before);
  } catch (error) {
    if (!session) {
      closeMicrophone();
      if (wasOff) await turnOff();
    }
    // What went wrong here says more than what the node makes of it.
    phone.set({ failure: phone.get().failure ?? failure(error) });
  } finally {
    expected = null;
    phone.set({ taking: null });
  }
}

/** Who has just signed in has a live call come here: it rings, or is taken at once, as the node has it. */
export async function followHere(how: "offer" | "move"): Promise<void> {
  try {
    await turnOn();
    const { device } = phone.get();
    const asked = ask<{ move: Move | null }>("POST", `/session/phone/${device}/follow`).then(({ move }) => move?.id ?? "");
    expected = how === "move" ? asked : null;
    const move = await asked;
    if (how === "move" && move) await arrival(move);
  } catch (error) {
    phone.set({ failure: phone.get().failure ?? failure(error) });
  } finally {
    expected = null;
  }
}

/**
 * Becomes another device where this one has the call, as it has after the page was loaded anew: a call does not move to
 * where it is. Gives the device that it was.
 */
async function leaveDeviceOf(call: string, user: string): Promise<string | null> {
  const { device } = phone.get();
  const found = live.get().calls.find((known) => known.id === call);
  if (!found || !hasLegAt(found, user, device) || session) return null;
  stop();
  leave();
  phone.set({ state: "off", device: null });
  await turnOn();
  return device;
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
  if (!session) closeMicrophone();
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

function register(given: Credentials, instance: string): Promise<void> {
  const connection = new WebSocketInterface(given.ws_uri);
  const agent = new UA({
    sockets: [connection],
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
  [ua, socket, isRefused] = [agent, connection, false];
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
      const why = `This browser could not be registered (${event.response?.status_code ?? event.cause ?? "no answer"}).`;
      reject(new Error(why));
      refused(why);
    });
    agent.start();
  });
}

/** After it was ready. */
function refused(why: string): void {
  const { state, line } = phone.get();
  if (state !== "ready" && state !== "lost") return;
  isRefused = true;
  if (line.state === "idle") stop();
  phone.set({ state: line.state === "idle" ? "off" : "lost", failure: why });
}

/**
 * Hangs up and closes the connection, which is all that the node needs to know. No REGISTER is sent: after sign-out its
 * password is wrong, and who sends wrong passwords is banned.
 */
function stop(): void {
  generation += 1;
  const [old, connection] = [ua, socket];
  hangUp();
  [ua, socket, turning] = [null, null, null];
  connection?.disconnect();
  old?.stop();
}

function began(event: RTCSessionEvent): void {
  const { session: fresh } = event;
  const isIncoming = event.originator === "remote";
  const move = isIncoming ? (event as IncomingRTCSessionEvent).request.getHeader("Segue-Move") : undefined;
  if (session && !session.isEnded()) {
    // The call that was asked for here goes before one that rings; before one that is talked in, none does.
    if (!expected || !move || phone.get().line.state !== "incoming") {
      fresh.terminate({ status_code: 486 });
      return;
    }
    const ringing = session;
    session = null;
    ringing.terminate({ status_code: 486 });
  }
  session = fresh;
  const who = fresh.remote_identity.display_name || fresh.remote_identity.uri.user;
  phone.set({ line: { state: isIncoming ? "incoming" : "calling", who }, took: null });
  listen(fresh, who);
  if (expected && move) void answerIfAskedFor(fresh, who, move, expected);
}

/** The node names the move in the call that it sends to a device of ours; a stranger cannot know it. */
async function answerIfAskedFor(fresh: RTCSession, who: string, move: string, asked: Promise<string>): Promise<void> {
  phone.set({ line: { state: "connecting", who } });
  if ((await asked.catch(() => null)) !== move) {
    if (fresh === session && !fresh.isEnded()) phone.set({ line: { state: "incoming", who } });
    return;
  }
  try {
    accept(fresh, await openMicrophone());
  } catch (error) {
    phone.set({ failure: failure(error) });
    if (!fresh.isEnded()) fresh.terminate({ status_code: 480 });
  }
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
    if (isRefused) {
      stop();
      phone.set({ state: "off" });
    }
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
