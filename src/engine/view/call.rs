//! Live calls and their legs.

use serde::{Deserialize, Serialize};

use super::{Listed, Order, Time};
use crate::engine::command::Subject;

/// How a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallPhase {
    /// No answer yet.
    Ringing,
    /// Both sides talk.
    Answered,
    /// A side holds.
    Held,
    /// A move is under way.
    Moving,
    /// Being taken down.
    Ended,
}

/// A live call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallView {
    /// Its name (ULID).
    pub id: String,
    /// How it stands.
    pub state: CallPhase,
    /// `internal`, `inbound`, `outbound`.
    pub direction: String,
    /// Who calls: user or number.
    pub from: String,
    /// Who is called: user or number.
    pub to: String,
    /// The user whose call it is: the caller where that is a user, else the callee.
    pub user: Option<String>,
    /// Trunk.
    pub trunk: Option<String>,
    /// When it came in.
    pub started: Time,
    /// When it was answered.
    pub answered: Option<Time>,
    /// The audio codec in use.
    pub codec: Option<String>,
    /// Whether its media runs through this node.
    pub anchored: bool,
    /// Moves so far.
    pub moves: u32,
    /// The parties.
    pub legs: Vec<LegView>,
}

/// One party of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LegView {
    /// `caller`, `callee`, `ringing` (one of the devices rung), `moving` (new device of a move), `released`.
    pub role: String,
    /// `early`, `answered`, `confirmed`, `ended`; `lost` where the device died and the other side is kept for it.
    pub state: String,
    /// The user.
    pub user: Option<String>,
    /// The device.
    pub device: Option<String>,
    /// The trunk.
    pub trunk: Option<String>,
    /// `udp`, `tcp`, ….
    pub transport: Option<String>,
    /// Its address.
    pub address: Option<String>,
    /// What it calls itself.
    pub user_agent: Option<String>,
    /// Whether it holds the call.
    pub held: bool,
    /// Why it cannot be moved to another device now, a word as in [`MoveView::reason`](super::MoveView::reason); `None`: it can.
    pub immovable: Option<String>,
    /// The user who is signed in at the device, if it is shared: whose call it is.
    #[serde(default)]
    pub signed_in: Option<String>,
}

impl LegView {
    /// Whether it is the device of `subject`, or its call.
    fn is_of(&self, subject: &Subject) -> bool {
        [&self.user, &self.signed_in].into_iter().flatten().any(|user| subject.may_see(user))
    }
}

impl CallView {
    /// Whether `subject` may know of it.
    #[must_use]
    pub fn is_seen_by(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Admin => true,
            Subject::User(_) => self.legs.iter().any(|leg| leg.is_of(subject)),
        }
    }

    /// What `subject` may see of it: of other people's legs neither device, address nor software.
    #[must_use]
    pub fn cut_for(mut self, subject: &Subject) -> Self {
        for leg in &mut self.legs {
            if leg.is_of(subject) || *subject == Subject::Admin {
                continue;
            }
            (leg.device, leg.address, leg.user_agent, leg.transport) = (None, None, None, None);
            (leg.trunk, leg.immovable, leg.signed_in) = (None, None, None);
        }
        if *subject != Subject::Admin {
            self.trunk = None;
        }
        self
    }
}

impl Listed for CallView {
    const ORDER: Order = Order::Ascending;

    fn key(&self) -> String {
        self.id.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_sees_own_legs_only() {
        let leg = |user: &str| LegView {
            role: "caller".into(),
            state: "confirmed".into(),
            user: Some(user.into()),
            device: Some("desk".into()),
            trunk: None,
            transport: Some("udp".into()),
            address: Some("192.0.2.1:5060".into()),
            user_agent: Some("phone".into()),
            held: false,
            immovable: None,
            signed_in: None,
        };
        let call = CallView {
            id: "1".into(),
            state: CallPhase::Answered,
            direction: "internal".into(),
            from: "alice".into(),
            to: "bob".into(),
            user: Some("alice".into()),
            trunk: None,
            started: Time::default(),
            answered: None,
            codec: None,
            anchored: true,
            moves: 0,
            legs: vec![leg("alice"), leg("bob")],
        };
        let bob = Subject::User("bob".into());
        assert!(call.is_seen_by(&bob) && !call.is_seen_by(&Subject::User("carol".into())));
        let seen = call.clone().cut_for(&bob);
        assert_eq!(seen.legs[0].device, None);
        assert_eq!(seen.legs[0].address, None);
        assert_eq!(seen.legs[1], call.legs[1]);
        assert_eq!(call.clone().cut_for(&Subject::Admin), call);
    }
}
