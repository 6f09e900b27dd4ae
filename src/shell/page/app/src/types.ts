// What the API answers: /v1/openapi.json, as far as the page uses it.

export interface Session {
  user: string | null;
  display: string | null;
  extension: string | null;
  scopes: ("user" | "admin")[];
  expires: string | null;
  /** Whether a browser can have calls at this node. */
  browsers: boolean;
  /** What becomes of the live call of a user who signs in elsewhere. */
  follow: "off" | "offer" | "move";
}

export interface Leg {
  role: "caller" | "callee" | "ringing" | "moving" | "released";
  state: string;
  user: string | null;
  device: string | null;
  trunk: string | null;
  transport: string | null;
  address: string | null;
  user_agent: string | null;
  held: boolean;
  immovable: string | null;
  /** The user who is signed in at the phone, which is another's. */
  signed_in: string | null;
}

export interface Call {
  id: string;
  state: "ringing" | "answered" | "held" | "moving" | "ended";
  direction: string;
  from: string;
  to: string;
  user: string | null;
  started: string;
  answered: string | null;
  codec: string | null;
  moves: number;
  legs: Leg[];
}

export interface Device {
  user: string;
  id: string;
  address: string;
  trust: "personal" | "shared";
  registered: boolean;
  hold_off_s: number | null;
  lent: boolean;
}

/** A shared phone at whose keys the user has signed in. */
export interface HotDesk {
  device: string;
  since: string;
  until: string;
}

export interface User {
  name: string;
  hot_desk: HotDesk | null;
}

export interface Registration {
  user: string;
  device: string;
  contact: string;
  transport: string;
  address: string;
  user_agent: string | null;
  expires_s: number;
}

export interface TimelineEntry {
  at_us: number;
  event: string;
  [more: string]: unknown;
}

export interface Move {
  id: string;
  call: string;
  user: string;
  from_device: string | null;
  to_device: string | null;
  trigger: string;
  state: "requested" | "authorized" | "ringing" | "negotiating" | "switching" | "done" | "rolled_back" | "refused";
  reason: string | null;
  requested: string;
  ended: string | null;
  gap_ms: number | null;
  lost: number | null;
  hold_off_until: string | null;
  timeline?: { started: number; entries: TimelineEntry[] };
}

export interface Status {
  node: string;
  domain: string;
  version: string;
  uptime_s: number;
  draining: boolean;
  listeners: string[];
  calls_ringing: number;
  calls_answered: number;
  moves: number;
  registrations: number;
  users: number;
  ports_free: number;
  ports_used: number;
  store: string;
}

export interface Quality {
  call: string;
  streams: { role: string; user: string | null; device: string | null; mos: number | null; loss: number | null; jitter_ms: number | null }[];
}

/** One-time credentials of this browser as a phone. */
export interface Credentials {
  uri: string;
  auth_user: string;
  password: string;
  device: string;
  ws_uri: string;
  expires: string;
}

export interface Page<T> {
  items: T[];
  next: string | null;
}
