// Which lent device this tab is: the same one after it was loaded anew, and none that another tab is. A tab that was
// duplicated has a copy of what the first one remembers.

const KEY = "segue.phone";
/** How long another tab may take to say that the device is its own, ms. */
const ANSWER = 150;

export interface Identity {
  device: string;
  /** `+sip.instance`. */
  instance: string;
}

let own: Identity | null = null;
const tabs = new BroadcastChannel(KEY);
tabs.addEventListener("message", ({ data }: MessageEvent<{ asked?: string }>) => {
  if (own && data.asked === own.device) tabs.postMessage({ taken: own.device });
});

/** Whether a live call of that user shall come to this browser at sign-in. Asked for by each user: others sign in here too. */
export function wantsCalls(user: string): boolean {
  return localStorage.getItem(`segue.follow.${user}`) === "yes";
}

export function wantCalls(user: string, isWanted: boolean): void {
  if (isWanted) localStorage.setItem(`segue.follow.${user}`, "yes");
  else localStorage.removeItem(`segue.follow.${user}`);
}

/** The device of this tab, or the one that it was before it was loaded. */
export async function recall(): Promise<Identity | null> {
  if (own) return own;
  const known = stored();
  if (known && (await isTaken(known.device))) {
    sessionStorage.removeItem(KEY);
    return null;
  }
  return known;
}

/** This tab is that device from now on. */
export function become(device: string, known: Identity | null): Identity {
  own = { device, instance: known?.device === device ? known.instance : randomInstance() };
  sessionStorage.setItem(KEY, JSON.stringify(own));
  return own;
}

/** This tab is no device any more. */
export function leave(): void {
  own = null;
  sessionStorage.removeItem(KEY);
}

function stored(): Identity | null {
  try {
    const found = JSON.parse(sessionStorage.getItem(KEY) ?? "null") as Identity | null;
    return found?.device && found.instance ? found : null;
  } catch {
    return null;
  }
}

function isTaken(device: string): Promise<boolean> {
  return new Promise((resolve) => {
    const finish = (is: boolean) => {
      tabs.removeEventListener("message", hear);
      clearTimeout(late);
      resolve(is);
    };
    const hear = ({ data }: MessageEvent<{ taken?: string }>) => data.taken === device && finish(true);
    const late = setTimeout(() => finish(false), ANSWER);
    tabs.addEventListener("message", hear);
    tabs.postMessage({ asked: device });
  });
}

/** `crypto.randomUUID` is there in secure contexts only. */
function randomInstance(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20)}`;
}
