// Words of the API as sentences for people, and times as they are read.
import { Problem } from "./api";
import type { Call, Device, Leg, Move, TimelineEntry } from "./types";

/** Why a call cannot be moved, or why a move came to nothing. */
const REASONS: Record<string, string> = {
  no_call: "It is not answered yet.",
  device_unknown: "There is no such device.",
  already_there: "The call is on that device already.",
  no_browsers: "Browsers cannot have calls at this node. Its administrator finds the reason in media.web_port and in the log of its start.",
  locked: "Somebody has to sign in on that device first.",
  not_registered: "None of your other devices is connected.",
  hold_off: "The call was moved away from this device a moment ago.",
  emergency: "Emergency calls are not moved.",
  busy: "It is being moved.",
  too_soon: "It was moved a moment ago. Try again in a second.",
  offer_unusable: "The other side and your device share no codec.",
  far_refused: "The other side refused the new device's media.",
  far_silent: "The other side did not answer.",
  far_gone: "The other side has hung up.",
  dialog_unknown: "The call has ended.",
  dialog_terminated: "The call has ended.",
  cancelled: "It was cancelled.",
  target_refused: "The device refused the call.",
  target_silent: "The device did not answer.",
  never_acked: "The device did not confirm.",
  store_unavailable: "The node cannot write it down now. Try again shortly.",
  new_silent: "The device sent no sound, so the call went back.",
  new_gone: "The device hung up before it was heard, so the call went back.",
  undo: "You took it back.",
};

export function reason(word: string): string {
  return REASONS[word] ?? `${word.replaceAll("_", " ")}.`;
}

/** A failure as a sentence. */
export function failure(error: unknown): string {
  if (error instanceof Problem) {
    const known = REASONS[error.code] ?? error.message;
    return error.retryAfter ? `${known} (${error.retryAfter} s)` : known;
  }
  return error instanceof Error ? error.message : String(error);
}

export const TRIGGERS: Record<string, string> = {
  star_code: "star code",
  replaces: "Replaces",
  token: "lamp key",
  refer: "transfer key",
  push_code: "push code",
  pickup: "pickup",
  http: "page or API",
  cli: "command line",
  undo: "undo",
  repair: "repair",
};

export const MOVE_STATES: Record<Move["state"], string> = {
  requested: "asked for",
  authorized: "allowed",
  ringing: "ringing",
  negotiating: "negotiating",
  switching: "switching",
  done: "moved",
  rolled_back: "went back",
  refused: "not moved",
};

export function isOver(state: Move["state"]): boolean {
  return state === "done" || state === "rolled_back" || state === "refused";
}

/** 0:07, 12:34, 1:02:03. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (n: number) => String(n).padStart(2, "0");
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

export function since(time: string, now: number): string {
  return duration((now - Date.parse(time)) / 1000);
}

export function secondsUntil(time: string | null, now: number): number {
  return time === null ? 0 : Math.max(0, Math.ceil((Date.parse(time) - now) / 1000));
}

export function clock(time: string): string {
  const at = new Date(time);
  const isToday = at.toDateString() === new Date().toDateString();
  const hour = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  return isToday ? hour : `${at.toLocaleDateString([], { month: "short", day: "numeric" })}, ${hour}`;
}

/** The device as its user calls it: what is lent to a browser is a browser. */
export function deviceName(id: string | null, here?: string | null): string {
  if (id === null) return "another phone";
  const own = id.includes("*") ? id.slice(id.indexOf("*") + 1) : id;
  if (here && own === here) return "this browser";
  return own.startsWith("web-") ? `browser ${own.slice(4)}` : own;
}

/** The legs of a user in a call that talk or ring. */
export function ownLegs(call: Call, user: string): Leg[] {
  return call.legs.filter((leg) => (leg.signed_in ?? leg.user) === user && leg.role !== "released" && leg.role !== "moving");
}

/** Whether that device of the user has the call. */
export function hasLegAt(call: Call, user: string, device: string | null): boolean {
  return device !== null && ownLegs(call, user).some((leg) => leg.device === device);
}

/** Who is at the other end, for `user`. */
export function farParty(call: Call, user: string): string {
  const own = ownLegs(call, user)[0];
  return own?.role === "caller" ? call.to : call.from;
}

/** Devices that a call of `user` could go to: connected, allowed, and not the one that has it. */
export function targets(call: Call, user: string, devices: Device[], here: string | null): Device[] {
  const has = new Set(ownLegs(call, user).map((leg) => leg.device));
  return devices.filter(
    (device) =>
      device.user === user && device.registered && device.trust === "personal" && device.id !== here && !has.has(device.id),
  );
}

/** The last move of a call, if we are in its hold-off. `moves` are newest first. */
export function undoable(moves: Move[], call: string, now: number): Move | undefined {
  const last = moves.find((move) => move.call === call && move.state === "done");
  return last && last.trigger !== "undo" && secondsUntil(last.hold_off_until, now) > 0 ? last : undefined;
}

/** How a score of the E-model sounds. */
export function sound(mos: number): string {
  if (mos >= 4.0) return "good";
  if (mos >= 3.6) return "fair";
  if (mos >= 3.1) return "poor";
  return "bad";
}

const text = (value: unknown) => (typeof value === "string" || typeof value === "number" ? String(value) : "");

/** A line of a move's timeline. */
export function entry(line: TimelineEntry): string {
  const side = text(line["side"]);
  const arrow = line["way"] === "out" ? "to" : "from";
  switch (line.event) {
    case "requested":
      return `asked for by ${text(line["by"])} (${TRIGGERS[text(line["trigger"])] ?? text(line["trigger"])})`;
    case "state":
      return MOVE_STATES[text(line["state"]) as Move["state"]] ?? text(line["state"]);
    case "granted":
      return `allowed: ${text(line["from"])} to ${text(line["to"])}`;
    case "refused":
      return `refused: ${reason(text(line["reason"]))}`;
    case "stored":
      return "session information stored";
    case "request":
      return `${text(line["method"])} ${arrow} the ${side} side`;
    case "response":
      return `${text(line["status"])} to ${text(line["method"])} ${arrow} the ${side} side`;
    case "description":
      return `media of the ${side} side, ${text(line["when"])} the move`;
    case "swapped":
      return "sound switched";
    case "heard":
      return `new device heard; ${(Number(line["gap_us"]) / 1000).toFixed(1)} ms gap, ${text(line["lost"])} packets lost`;
    case "media":
      return `${side} side: ${text(line["received"])} packets in, ${text(line["sent"])} out, ${text(line["lost"])} lost`;
    case "quality":
      return `quality ${text(line["when"])} the move: ${Number(line["mos"]).toFixed(1)}`;
    case "released":
      return "old device released";
    case "hold_off":
      return `hold-off for ${text(line["seconds"])} s`;
    case "rejected":
      return `${text(line["method"])} of the old device refused, ${text(line["retry_after"])} s left`;
    case "hold_off_ended":
      return "hold-off over";
    case "rolled_back":
      return `went back: ${reason(text(line["reason"]))}`;
    case "undone":
      return "taken back";
    default:
      return line.event.replaceAll("_", " ");
  }
}
