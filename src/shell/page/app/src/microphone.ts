// The microphone: asked for at a click, shared by whatever the click leads to, and closed with the call.

/** How long the person may leave the browser's question unanswered, ms. */
const PATIENCE = 30_000;

let open: Promise<MediaStream> | null = null;

export async function openMicrophone(isAgain = false): Promise<MediaStream> {
  const devices = navigator.mediaDevices as MediaDevices | undefined;
  if (!devices) {
    throw new Error("Browsers give a microphone only to pages that came over HTTPS, or from this machine itself.");
  }
  const opening = open ?? devices.getUserMedia({ audio: true });
  open = opening;
  try {
    const stream = await answered(opening);
    if (stream.getAudioTracks().some((track) => track.readyState === "live")) return stream;
  } catch (error) {
    const name = error instanceof DOMException ? error.name : "";
    if (name !== "" && open === opening) open = null;
    if (name === "NotAllowedError") throw new Error("The microphone is blocked. Allow it for this page and try again.");
    if (name === "NotFoundError") throw new Error("There is no microphone.");
    if (name === "NotReadableError") throw new Error("Another program has the microphone.");
    throw error;
  }
  // It was closed with a call of before, or is no more: it is asked for once again.
  if (open === opening) open = null;
  if (isAgain) throw new Error("The microphone stops at once.");
  return openMicrophone(true);
}

/** Closes it, also where it is yet to be allowed. */
export function closeMicrophone(): void {
  const closing = open;
  open = null;
  closing?.then((stream) => stream.getTracks().forEach((track) => track.stop())).catch(() => {});
}

/** A question that nobody answers is left behind. */
function answered(stream: Promise<MediaStream>): Promise<MediaStream> {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error("The browser asks for the microphone. Allow it and try again.")), PATIENCE);
    stream.then(resolve, reject).finally(() => clearTimeout(late));
  });
}
