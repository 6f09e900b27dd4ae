// Requests to the node. The session is a cookie that scripts do not see; errors are problem details (RFC 9457).

export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
    readonly retryAfter: number | null,
  ) {
    super(detail);
  }
}

/** Told when the node does not know the session any more. */
let onSignedOut: () => void = () => {};

export function whenSignedOut(tell: () => void): void {
  onSignedOut = tell;
}

export async function ask<T>(method: "GET" | "POST" | "DELETE", path: string, body?: unknown): Promise<T> {
  const options: RequestInit = { method, credentials: "same-origin", cache: "no-store" };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { "content-type": "application/json" };
  }
  let response: Response;
  try {
    response = await fetch(`/v1${path}`, options);
  } catch {
    throw new Problem(0, "unreachable", "The node cannot be reached.", null);
  }
  if (response.ok) {
    return (response.status === 204 ? undefined : await response.json()) as T;
  }
  const problem = (await response.json().catch(() => ({}))) as Record<string, unknown>;
  const text = (name: string, otherwise: string) => {
    const value = problem[name];
    return typeof value === "string" ? value : otherwise;
  };
  if (response.status === 401 && !(method === "POST" && path === "/session")) {
    onSignedOut();
  }
  const wait = typeof problem["retry_after"] === "number" ? problem["retry_after"] : null;
  throw new Problem(response.status, text("code", "failed"), text("detail", `The node answered ${response.status}.`), wait);
}
