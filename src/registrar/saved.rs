//! Bindings as they are written down: with the wall clock, so that they outlive the process.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Binding, Quality};
use crate::base::{Now, UnixMillis};
use crate::sip::{Flow, Transport};

/// All bindings of one address of record. None left: its rows go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedAor {
    /// The user.
    pub user: Arc<str>,
    /// What is bound.
    pub bindings: Vec<SavedBinding>,
}

/// One binding; as [`Binding`], with wall-clock times and the flow spelled out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of `Binding`")]
pub struct SavedBinding {
    pub contact: Arc<str>,
    pub instance: Option<Arc<str>>,
    pub reg_id: Option<u32>,
    pub q: Option<u16>,
    pub features: Arc<str>,
    pub expires: UnixMillis,
    pub registered: UnixMillis,
    pub call_id: Arc<str>,
    pub cseq: u32,
    pub transport: Arc<str>,
    pub listener: u16,
    pub peer: Arc<str>,
    pub path: Vec<Arc<str>>,
    pub user_agent: Arc<str>,
    pub device: Arc<str>,
}

impl SavedBinding {
    /// `binding` with the times of the wall clock.
    #[must_use]
    pub fn of(binding: &Binding, now: Now) -> Self {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
            contact: Arc::clone(&binding.contact),
            instance: binding.instance.clone(),
            reg_id: binding.reg_id,
            q: binding.q.map(Quality::thousandths),
            features: Arc::clone(&binding.features),
            expires: UnixMillis(now.unix.0.saturating_add(ms(binding.expires.since(now.at)))),
            registered: UnixMillis(now.unix.0.saturating_sub(ms(now.at.since(binding.registered)))),
            call_id: Arc::clone(&binding.call_id),
            cseq: binding.cseq,
            transport: Arc::from(binding.flow.transport.uri_token()),
            listener: binding.flow.listener,
            peer: Arc::from(binding.flow.peer.to_string()),
            path: binding.path.clone(),
            user_agent: Arc::clone(&binding.user_agent),
            device: Arc::clone(&binding.device),
        }
    }

    /// The binding in the time of this process; none where it has expired, where its transport is not
    /// listened on any more, and where nobody can be called back. A connection does not survive the process: its number
    /// becomes 0.
    #[must_use]
    pub fn restored(&self, listeners: &[Transport], now: Now) -> Option<Binding> {
        let left = self.expires.0.checked_sub(now.unix.0).filter(|left| *left > 0)?;
        let age = Duration::from_millis(now.unix.0.saturating_sub(self.registered.0));
        let transport = [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss]
            .into_iter()
            .find(|transport| transport.uri_token() == &*self.transport)?;
        let same = listeners.get(usize::from(self.listener)) == Some(&transport);
        let listener = if same {
            self.listener
        } else {
            u16::try_from(listeners.iter().position(|known| *known == transport)?).ok()?
        };
        let flow = Flow { transport, listener, connection: 0, peer: self.peer.parse().ok()? };
        let restored = Binding {
            contact: Arc::clone(&self.contact),
            instance: self.instance.clone(),
            reg_id: self.reg_id,
            q: self.q.map(Quality::from_thousandths),
            features: Arc::clone(&self.features),
            expires: now.at + Duration::from_millis(left),
            registered: now.at - age,
            call_id: Arc::clone(&self.call_id),
            cseq: self.cseq,
            flow,
            path: self.path.clone(),
            user_agent: Arc::clone(&self.user_agent),
            device: Arc::clone(&self.device),
        };
        Some(restored).filter(|binding| !binding.ends_with_its_flow())
    }
}
