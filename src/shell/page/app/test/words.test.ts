// What the page makes of the API's answers.
// @ts-expect-error the page itself has no types of Node
import { strictEqual as equal, deepStrictEqual as same, match } from "node:assert";
// @ts-expect-error the same
import { test } from "node:test";
import { Problem } from "../src/api";
import type { Call, Device, Leg, Move } from "../src/types";
import { deviceName, duration, entry, failure, farParty, ownLegs, reason, secondsUntil, targets, undoable } from "../src/words";

const leg = (role: Leg["role"], user: string | null, device: string | null): Leg => ({
  role, user, device, state: "confirmed", trunk: null, transport: null, address: null, user_agent: null, held: false, immovable: null,
  signed_in: null,
});
const call = (legs: Leg[]): Call => ({
  id: "1", state: "answered", direction: "internal", from: "alice", to: "bob", user: "alice",
  started: "2026-01-01T00:00:00.000Z", answered: "2026-01-01T00:00:05.000Z", codec: null, moves: 0, legs,
});
const device = (id: string, change: Partial<Device> = {}): Device => ({
  user: "alice", id, address: `alice*${id}`, trust: "personal", registered: true, hold_off_s: null, lent: false, ...change,
});
const move = (change: Partial<Move>): Move => ({
  id: "m", call: "1", user: "alice", from_device: "desk", to_device: "mobile", trigger: "http", state: "done", reason: null,
  requested: "2026-01-01T00:00:00.000Z", ended: null, gap_ms: null, lost: null, hold_off_until: "2026-01-01T00:00:30.000Z", ...change,
});
const now = Date.parse("2026-01-01T00:00:10.000Z");

test("the other side is the one that is not the user", () => {
  equal(farParty(call([leg("caller", "alice", "desk"), leg("callee", "bob", null)]), "alice"), "bob");
  equal(farParty(call([leg("caller", "alice", null), leg("callee", "bob", "desk")]), "bob"), "alice");
});

test("a leg that was let go of, or is only about to get the call, has it not", () => {
  const both = call([leg("caller", "alice", "mobile"), leg("released", "alice", "desk"), leg("moving", "alice", "tablet")]);
  same(ownLegs(both, "alice").map((own) => own.device), ["mobile"]);
});

test("a leg at a shared phone is of who is signed in there", () => {
  const desk = call([{ ...leg("caller", "rooms", "lobby"), signed_in: "alice" }, leg("callee", "bob", null)]);
  same([ownLegs(desk, "alice").length, ownLegs(desk, "rooms").length], [1, 0]);
  equal(farParty(desk, "alice"), "bob");
});

test("a call can go where somebody can answer, and nowhere else", () => {
  const devices = [
    device("desk"), device("mobile"), device("off", { registered: false }), device("lobby", { trust: "shared" }),
    device("web-1"), device("other", { user: "bob" }),
  ];
  same(targets(call([leg("caller", "alice", "desk")]), "alice", devices, "web-1").map((found) => found.id), ["mobile"]);
});

test("only a move whose hold-off runs is offered to be taken back", () => {
  equal(undoable([move({})], "1", now)?.id, "m");
  for (const other of [{ call: "2" }, { state: "refused" as const }, { trigger: "undo" }, { hold_off_until: null }]) {
    equal(undoable([move(other)], "1", now), undefined);
  }
  equal(undoable([move({})], "1", now + 20_001), undefined);
  equal(undoable([move({ trigger: "undo", hold_off_until: null }), move({})], "1", now), undefined, "it was taken back");
  equal(secondsUntil("2026-01-01T00:00:30.000Z", now), 20);
});

test("times and names read well", () => {
  same([0, 7, 754, 3723, -1].map(duration), ["0:00", "0:07", "12:34", "1:02:03", "0:00"]);
  same([deviceName("desk"), deviceName("alice*web-1a"), deviceName("web-1", "web-1"), deviceName(null)], ["desk", "browser 1a", "this browser", "another phone"]);
});

test("what went wrong is a sentence", () => {
  match(failure(new Problem(403, "hold_off", "Call was moved away", 17)), /moved away .*\(17 s\)$/);
  equal(failure(new Problem(409, "no_websocket", "No listener.", null)), "No listener.");
  match(failure(new Problem(409, "no_browsers", "No port.", null)), /^Browsers cannot have calls at this node\./);
  equal(reason("something_new"), "something new.");
});

test("an unknown line of a timeline is shown all the same", () => {
  equal(entry({ at_us: 0, event: "note_of_later" }), "note of later");
  match(entry({ at_us: 0, event: "heard", gap_us: 19500, lost: 0 }), /19\.5 ms gap, 0 packets lost/);
  match(entry({ at_us: 0, event: "response", side: "far", way: "in", method: "INVITE", status: 488 }), /488 to INVITE from the far side/);
});
