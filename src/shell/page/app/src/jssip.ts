// The one place that names the library: what the page uses of JsSIP.
export { UA, WebSocketInterface } from "jssip";
export type { IncomingRTCSessionEvent, RTCSessionEvent } from "jssip/lib/UA";
export type { RTCSession } from "jssip/lib/RTCSession";
