//! PUBLISH of quality reports (RFC 6035, RFC 3903): who reports is one of our devices, and the call is one of its own.
//!
//! What is reported happened: it is told once, as an event, and is no state that could be refreshed, changed or
//! removed. So every publication is a new one, and one that builds upon another finds none (RFC 3903 6 step 4). It
//! touches no call, so a device that is held off from one may still tell how it was.

use super::event::Event;
use super::{Engine, Output};
use crate::moving::DeviceKey;
use crate::sip::Flow;
use crate::sip::transaction::ServerTx;
use crate::wire::sip::{HeaderName, Message, StatusCode};
use crate::wire::vq_report::{CONTENT_TYPE, PACKAGE, VqReport};

/// The longest time that is granted, in seconds; nothing depends on it.
const MAX_EXPIRES: u32 = 3600;

/// Why a publication is turned down.
enum No {
    /// 489: not of our package.
    BadEvent,
    /// 412: it builds upon another one.
    Unknown,
    /// 415: not of our kind.
    Unsupported,
    /// 400: no report.
    Unreadable,
}

impl Engine {
    /// A PUBLISH outside dialogs.
    pub(super) fn on_publish(&mut self, tx: ServerTx, flow: Flow, message: &Message) {
        let Some((account, device)) = self.authenticate_device(tx, flow, message) else { return };
        let Some(by) = Self::device_key(&account, device) else { return };
        let result = self.publish(message, by);
        let status = match result {
            Ok(()) => StatusCode::OK,
            Err(No::BadEvent) => StatusCode::BAD_EVENT,
            Err(No::Unknown) => StatusCode::CONDITIONAL_REQUEST_FAILED,
            Err(No::Unsupported) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Err(No::Unreadable) => StatusCode::BAD_REQUEST,
        };
        let (tag, etag) = (self.core.random.tag(), self.core.random.tag());
        let Some(mut writer) = self.core.reply(tx, status, &tag) else { return };
        match result {
            Ok(()) => {
                // RFC 3903 6 step 6. Nothing is found by the tag.
                let granted = message.expires().unwrap_or(MAX_EXPIRES).min(MAX_EXPIRES);
                writer.header_number(&HeaderName::Expires, granted.into());
                writer.header(&HeaderName::SipEtag, &etag);
            }
            Err(No::BadEvent) => {
                writer.header(&HeaderName::AllowEvents, PACKAGE);
            }
            Err(No::Unsupported) => {
                writer.header(&HeaderName::Accept, CONTENT_TYPE);
            }
            Err(No::Unknown | No::Unreadable) => {}
        }
        let bytes = writer.finish();
        self.core.respond(tx, status, bytes);
    }

    fn publish(&mut self, message: &Message, by: DeviceKey) -> Result<(), No> {
        let event = message.header(HeaderName::Event).and_then(|header| header.value_str().ok());
        let package = event.as_deref().and_then(|event| event.split(';').next()).unwrap_or_default();
        if !package.trim().eq_ignore_ascii_case(PACKAGE) {
            return Err(No::BadEvent);
        }
        if message.has(HeaderName::SipIfMatch) {
            return Err(No::Unknown);
        }
        if !message.content_type().is_some_and(|kind| kind.eq_ignore_ascii_case(CONTENT_TYPE)) {
            return Err(No::Unsupported);
        }
        let report = VqReport::read(&message.body()).map_err(|error| {
            tracing::debug!(%by, %error, "a quality report that cannot be read");
            No::Unreadable
        })?;
        let call = self.dialogs.call(&by, &report.call_id).map(Box::from);
        let (user, device) = (by.user().into(), by.device().into());
        let report = Box::new(report);
        self.outputs.push(Output::Event(Event::QualityReport { call, user, device, report }));
        Ok(())
    }
}
