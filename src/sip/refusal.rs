//! Why a request is turned down, and the one table from reason to status (RFC 3261 21).

use std::borrow::Cow;

use crate::wire::sip::StatusCode;

/// A reason to say no. Each has one status, chosen in [`Refusal::status`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request is malformed or contradicts itself.
    #[error("bad request: {0}")]
    Malformed(&'static str),
    /// The requester may not do this. Says nothing of whether the object exists.
    #[error("not authorised")]
    NotAuthorised,
    /// A device is shut out of a moved call for this many seconds.
    #[error("hold-off, {retry_after} s left")]
    HoldOff {
        /// Seconds left, at least 1.
        retry_after: u32,
    },
    /// Nobody has this number or name.
    #[error("no such destination")]
    DestinationUnknown,
    /// The user exists, no device of theirs can be reached.
    #[error("nobody is registered there")]
    Unreachable,
    /// The scheme of the Request-URI is not served, or not over this transport (RFC 3261 8.2.2.1).
    #[error("unsupported URI scheme")]
    SchemeUnsupported,
    /// The method is not served here.
    #[error("method not allowed")]
    MethodNotAllowed,
    /// A `Require`d extension is not supported (RFC 3261 8.2.2.3).
    #[error("extension not supported: {0}")]
    ExtensionUnsupported(Box<str>),
    /// The body is of a kind that cannot be used here (RFC 3261 8.2.3).
    #[error("unsupported media type")]
    BodyUnsupported,
    /// The body is packed in a way that we do not unpack (RFC 3261 8.2.3).
    #[error("unsupported content encoding")]
    EncodingUnsupported,
    /// The answer would be of a kind that the request does not accept (RFC 3261 21.4.7).
    #[error("the answer would not be acceptable")]
    AnswerUnwanted,
    /// No dialog of that name (RFC 3261 12.2.2).
    #[error("no such call")]
    DialogUnknown,
    /// CSeq went back (RFC 3261 12.2.2).
    #[error("CSeq out of order")]
    CSeqOutOfOrder,
    /// An offer is open in this direction; the other may try again after `Retry-After` (RFC 3261 14.2).
    #[error("previous INVITE still open, {retry_after} s")]
    InviteOpen {
        /// 0 to 10 s, drawn at random.
        retry_after: u32,
    },
    /// The session interval is shorter than we let it be (RFC 4028 9).
    #[error("session interval too small, at least {min} s")]
    SessionTooShort {
        /// The shortest one, in seconds.
        min: u32,
    },
    /// Glare (RFC 3261 14.2, RFC 3311 5.2).
    #[error("request pending")]
    RequestPending,
    /// The description offers nothing that can be carried.
    #[error("not acceptable: {0}")]
    OfferUnusable(Cow<'static, str>),
    /// The request has been here before (RFC 3261 16.3).
    #[error("loop detected")]
    LoopDetected,
    /// Max-Forwards ran out.
    #[error("too many hops")]
    TooManyHops,
    /// The event package is unknown (RFC 6665 8.3.2).
    #[error("bad event")]
    BadEvent,
    /// The caller gave up.
    #[error("request terminated")]
    Terminated,
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// A limit of this node is reached.
    #[error("overloaded: {what}")]
    Overloaded {
        /// Which limit.
        what: &'static str,
        /// Seconds.
        retry_after: u32,
    },
    /// The node is being shut down.
    #[error("draining")]
    Draining,
    /// The store did not take it.
    #[error("store unavailable")]
    StoreUnavailable,
    /// A move was refused; its own table chose the status.
    #[error("{text}")]
    Move {
        /// The status.
        status: StatusCode,
        /// Its reason phrase.
        text: &'static str,
        /// Seconds after which it may work.
        retry_after: Option<u32>,
    },
    /// Privacy that was asked for without fail, and cannot be given (RFC 3323 5). Holds the reason phrase.
    #[error("{0}")]
    PrivacyUnavailable(Box<str>),
    /// A rule of the dial plan says no.
    #[error("a rule refuses it: {reason}")]
    Ruled {
        /// The status that it gives.
        status: StatusCode,
        /// Its reason phrase.
        reason: Box<str>,
    },
    /// A fault of ours, counted and logged where it happened.
    #[error("internal error")]
    Internal,
}

impl Refusal {
    /// The one status of this reason. No wildcard: a new reason does not compile until someone chooses.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::NotAuthorised | Self::HoldOff { .. } => StatusCode::FORBIDDEN,
            Self::DestinationUnknown => StatusCode::NOT_FOUND,
            Self::Unreachable => StatusCode::TEMPORARILY_UNAVAILABLE,
            Self::SchemeUnsupported => StatusCode::UNSUPPORTED_URI_SCHEME,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::ExtensionUnsupported(_) => StatusCode::BAD_EXTENSION,
            Self::BodyUnsupported | Self::EncodingUnsupported => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::AnswerUnwanted => StatusCode::NOT_ACCEPTABLE,
            Self::DialogUnknown => StatusCode::CALL_DOES_NOT_EXIST,
            Self::CSeqOutOfOrder | Self::InviteOpen { .. } | Self::Internal | Self::PrivacyUnavailable(_) => {
                StatusCode::SERVER_INTERNAL_ERROR
            }
            Self::SessionTooShort { .. } => StatusCode::SESSION_INTERVAL_TOO_SMALL,
            Self::RequestPending => StatusCode::REQUEST_PENDING,
            Self::OfferUnusable(_) => StatusCode::NOT_ACCEPTABLE_HERE,
            Self::LoopDetected => StatusCode::LOOP_DETECTED,
            Self::TooManyHops => StatusCode::TOO_MANY_HOPS,
            Self::BadEvent => StatusCode::BAD_EVENT,
            Self::Terminated => StatusCode::REQUEST_TERMINATED,
            Self::TimedOut => StatusCode::REQUEST_TIMEOUT,
            Self::Move { status, .. } | Self::Ruled { status, .. } => *status,
            Self::Overloaded { .. } | Self::Draining | Self::StoreUnavailable => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// `Retry-After` in seconds, where the answer carries one (RFC 3261 20.33).
    #[must_use]
    pub const fn retry_after(&self) -> Option<u32> {
        match self {
            Self::HoldOff { retry_after }
            | Self::InviteOpen { retry_after }
            | Self::Overloaded { retry_after, .. } => Some(*retry_after),
            Self::Move { retry_after, .. } => *retry_after,
            Self::Draining => Some(30),
            Self::StoreUnavailable => Some(5),
            _ => None,
        }
    }

    /// The reason phrase, where it says more than the status (phones show it).
    #[must_use]
    pub fn phrase(&self) -> Option<&str> {
        match self {
            Self::Move { text, .. } => Some(text),
            Self::Ruled { reason, .. } => Some(reason),
            Self::PrivacyUnavailable(phrase) => Some(phrase),
            Self::HoldOff { .. } => Some("Call was moved away from this device"),
            _ => None,
        }
    }
}
