//! Users, their devices, and where these are.

use serde::{Deserialize, Serialize};

use super::{Listed, Order, Time};
use crate::engine::command::TrustName;
use crate::engine::trunks::PbxView;

/// A user with devices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserView {
    /// The name.
    pub name: String,
    /// Shown to the other side.
    pub display: Option<String>,
    /// The number that dials the user.
    pub extension: Option<String>,
    /// `file` or `store`.
    pub origin: String,
    /// Whether there is a login.
    pub login: bool,
    /// Whether there is a PIN.
    pub pin: bool,
    /// The devices.
    pub devices: Vec<DeviceView>,
    /// How the user stands at a PBX, where the user is behind one.
    pub pbx: Option<PbxView>,
    /// The shared device at which the user is signed in.
    pub hot_desk: Option<HotDeskView>,
}

/// A sign-in at a shared device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HotDeskView {
    /// The address of the device: `rooms*lobby`.
    pub device: String,
    /// Since when.
    pub since: Time,
    /// Until when, unless it is ended before.
    pub until: Time,
}

/// A device of a user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceView {
    /// The user.
    pub user: String,
    /// Its name among the devices of the user.
    pub id: String,
    /// Its own address: `alice*desk`.
    pub address: String,
    /// The digest username.
    pub auth_user: String,
    /// Whether it is one person's.
    pub trust: TrustName,
    /// Whether it is registered now.
    pub registered: bool,
    /// Seconds left of a hold-off on it.
    pub hold_off_s: Option<u64>,
    /// Whether it is lent to a session, and gone with it.
    pub lent: bool,
    /// The user who is signed in there, if it is shared.
    pub signed_in: Option<String>,
}

/// A binding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegistrationView {
    /// The user.
    pub user: String,
    /// The device.
    pub device: String,
    /// The contact URI.
    pub contact: String,
    /// `udp`, `tcp`, ….
    pub transport: String,
    /// Where it comes from.
    pub address: String,
    /// What the device calls itself.
    pub user_agent: Option<String>,
    /// `+sip.instance`.
    pub instance: Option<String>,
    /// When it ends unless refreshed.
    pub expires: Time,
    /// Seconds until then.
    pub expires_s: u64,
    /// How the user stands at a PBX, in a word (see [`PbxView`]), where the user is behind one.
    pub pbx: Option<String>,
    /// The user who is signed in at the device, if it is shared.
    pub signed_in: Option<String>,
}

impl Listed for UserView {
    const ORDER: Order = Order::Ascending;

    fn key(&self) -> String {
        self.name.clone()
    }
}

impl Listed for DeviceView {
    const ORDER: Order = Order::Ascending;

    fn key(&self) -> String {
        self.address.clone()
    }
}

impl Listed for RegistrationView {
    const ORDER: Order = Order::Ascending;

    fn key(&self) -> String {
        format!("{}*{} {}", self.user, self.device, self.contact)
    }
}
