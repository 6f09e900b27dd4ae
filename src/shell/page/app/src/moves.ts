// Moves that somebody asks for: each function is done when the call is where it shall be.
import { ask, Problem } from "./api";
import { onEvent } from "./live";
import type { Move } from "./types";
import { isOver, reason } from "./words";

/** How long a move may take, ms. The node gives up on a device that does not answer earlier. */
const PATIENCE = 40_000;

/** Asks for a move; gives its id. */
export async function request(call: string, device: string | null, user: string): Promise<string> {
  return (await ask<Move>("POST", "/moves", { call, to_device: device, mode: "auto-answer", user })).id;
}

/** Waits until the call has moved. */
export async function arrival(move: string): Promise<void> {
  const ended = await finalState(move);
  if (ended.state !== "done") throw stays(ended);
}

/** Sends a call to another device. */
export async function sendTo(call: string, device: string, user: string): Promise<void> {
  await arrival(await request(call, device, user));
}

/** Takes a move back. */
export async function undo(move: string): Promise<void> {
  const back = await ask<Move>("POST", `/moves/${move}/undo`);
  const ended = await finalState(back.id);
  const isBack = ended.state === "done" || (back.id === move && ended.state === "rolled_back");
  if (!isBack) throw stays(ended);
}

const stays = (move: Move) => new Error(`The call stays where it is. ${reason(move.reason ?? "cancelled")}`);

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
        // Who may not know will not know later; a question that was lost is asked again.
        if (error instanceof Problem && [401, 403, 404].includes(error.status)) finish(() => reject(error));
      } finally {
        isAsking = false;
      }
    };
    const unhear = onEvent((kind, data) => {
      if (kind.startsWith("move.") && data["move"] === id) void look();
    });
    const every = setInterval(() => void look(), 500);
    const late = setTimeout(() => finish(() => reject(new Error("The move takes too long."))), PATIENCE);
    const finish = (then: () => void) => {
      unhear();
      clearInterval(every);
      clearTimeout(late);
      then();
    };
    void look();
  });
}
