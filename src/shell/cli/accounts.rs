//! `segue user`: accounts of the store. Passwords are hashed here; only hashes go to the node.

use super::ask::Asking;
use super::failure::Failure;
use super::options::{DeviceAction, NewSecret, NewUser as Wanted, UserAction};
use super::output::{Format, Table, or_dash};
use super::secrets::{Given, ha1, login_hash, make_password, make_pin, new_secret};
use crate::engine::command::{AccountChange, Command, Ha1Text, NewDevice, NewUser, Reply, TrustName};
use crate::engine::view::{DeviceView, UserView};

/// Users of one list that are printed at most.
const MAX_ITEMS: usize = 100_000;
/// Digits of a PIN.
const PIN_DIGITS: std::ops::RangeInclusive<usize> = 4..=12;

/// `segue user …`
pub(super) async fn user(asking: &mut Asking<'_>, action: UserAction) -> Result<(), Failure> {
    match action {
        UserAction::List => list(asking).await,
        UserAction::Add(wanted) => add(asking, wanted).await,
        UserAction::Passwd { name, device: None, secret } => {
            let given = new_secret("Login password", secret, make_password)?;
            let login = Some(login_hash(given.text())?);
            change(asking, AccountChange::SetLogin { user: name, login }).await?;
            tell(asking, "The login is set; sessions of the user are ended.", [("login", &given)])
        }
        UserAction::Passwd { name, device: Some(device), secret } => {
            passwd_of_device(asking, name, device, secret).await
        }
        UserAction::Pin { name, remove: true, .. } => {
            change(asking, AccountChange::SetPin { user: name, pin: None }).await?;
            asking.say("The user has no PIN.")
        }
        UserAction::Pin { name, remove: false, secret } => {
            let given = new_secret("PIN", secret, make_pin)?;
            let pin = given.text();
            if !pin.bytes().all(|byte| byte.is_ascii_digit()) || !PIN_DIGITS.contains(&pin.len()) {
                return Err(Failure::usage("a PIN has 4 to 12 digits".into()));
            }
            let pin = Some(login_hash(pin)?);
            change(asking, AccountChange::SetPin { user: name, pin }).await?;
            tell(asking, "The PIN is set.", [("pin", &given)])
        }
        UserAction::Devices { name, action } => devices(asking, name, action).await,
        UserAction::Remove { name } => {
            change(asking, AccountChange::Remove { user: name }).await?;
            asking.say("The user is removed; live calls go on.")
        }
    }
}

async fn list(asking: &mut Asking<'_>) -> Result<(), Failure> {
    let take = |reply| if let Reply::Users(page) = reply { Some(page) } else { None };
    let users = asking.list(MAX_ITEMS, |page| Command::ListUsers { page }, take).await?;
    let rows = users.iter().map(user_row).collect();
    let headings = &["NAME", "DISPLAY", "EXTENSION", "FROM", "LOGIN", "PIN", "DEVICES", "PBX"];
    asking.print(&Table { headings, rows }, &users)
}

async fn add(asking: &mut Asking<'_>, wanted: Wanted) -> Result<(), Failure> {
    let realm = asking.node_status().await?.realm;
    let login = new_secret("Login password", wanted.secret, make_password)?;
    let (mut devices, mut made) = (Vec::new(), Vec::new());
    for text in &wanted.devices {
        let (id, trust) = match text.split_once(':') {
            None => (text.as_str(), TrustName::Personal),
            Some((id, "shared")) => (id, TrustName::Shared),
            Some((id, "personal")) => (id, TrustName::Personal),
            Some((_, other)) => {
                return Err(Failure::usage(format!("a device is `personal` or `shared`, not `{other}`")));
            }
        };
        let auth_user = format!("{}-{id}", wanted.name);
        let password = Given::Made(make_password()?);
        let ha1 = ha1(&auth_user, &realm, password.text());
        devices.push(NewDevice { id: id.into(), auth_user: auth_user.as_str().into(), ha1, trust });
        made.push((auth_user, password));
    }
    let user = NewUser {
        name: wanted.name,
        display: wanted.display,
        extension: wanted.extension,
        login: Some(login_hash(login.text())?),
        pin: None,
        devices,
    };
    change(asking, AccountChange::Add(user)).await?;
    let secrets =
        std::iter::once(("login", &login)).chain(made.iter().map(|(name, given)| (name.as_str(), given)));
    tell(asking, "The user is added.", secrets)
}

async fn passwd_of_device(
    asking: &mut Asking<'_>,
    name: Box<str>,
    device: Box<str>,
    secret: NewSecret,
) -> Result<(), Failure> {
    let view = show(asking, &name).await?;
    let auth_user =
        view.devices.iter().find(|known| *known.id == *device).map(|known| known.auth_user.clone());
    let Some(auth_user) = auth_user else {
        return Err(Failure::not_found(format!("{name} has no device {device}")));
    };
    let (given, ha1) = device_secret(asking, &auth_user, secret).await?;
    change(asking, AccountChange::SetDevicePassword { user: name, device, ha1 }).await?;
    tell(asking, "The SIP password is set; it holds from the next registration on.", [(&*auth_user, &given)])
}

async fn devices(
    asking: &mut Asking<'_>,
    name: Box<str>,
    action: Option<DeviceAction>,
) -> Result<(), Failure> {
    match action {
        None => {
            let view = show(asking, &name).await?;
            let rows = view.devices.iter().map(device_row).collect();
            let headings = &["ID", "ADDRESS", "USERNAME", "TRUST", "REGISTERED", "HOLD-OFF S", "SIGNED IN"];
            asking.print(&Table { headings, rows }, &view.devices)
        }
        Some(DeviceAction::Add { id, auth_user, shared, secret }) => {
            let auth_user = auth_user.unwrap_or_else(|| format!("{name}-{id}").into());
            let (given, ha1) = device_secret(asking, &auth_user, secret).await?;
            let trust = if shared { TrustName::Shared } else { TrustName::Personal };
            let device = NewDevice { id, auth_user: auth_user.clone(), ha1, trust };
            change(asking, AccountChange::AddDevice { user: name, device }).await?;
            tell(asking, "The device is added.", [(&*auth_user, &given)])
        }
        Some(DeviceAction::Remove { id }) => {
            change(asking, AccountChange::RemoveDevice { user: name, device: id }).await?;
            asking.say("The device is removed.")
        }
    }
}

/// A password for a device, and its hashes under the realm of the node.
async fn device_secret(
    asking: &mut Asking<'_>,
    auth_user: &str,
    secret: NewSecret,
) -> Result<(Given, Ha1Text), Failure> {
    let realm = asking.node_status().await?.realm;
    let given = new_secret("SIP password", secret, make_password)?;
    let ha1 = ha1(auth_user, &realm, given.text());
    Ok((given, ha1))
}

async fn change(asking: &mut Asking<'_>, change: AccountChange) -> Result<(), Failure> {
    match asking.ask(Command::ChangeAccount(change)).await? {
        Reply::Done => Ok(()),
        _ => Err(Failure::misfit()),
    }
}

async fn show(asking: &mut Asking<'_>, name: &str) -> Result<UserView, Failure> {
    match asking.ask(Command::ShowUser { name: name.into() }).await? {
        Reply::User(view) => Ok(*view),
        _ => Err(Failure::misfit()),
    }
}

/// Says that it is done, and prints what was made; nobody is told it again.
fn tell<'g>(
    asking: &mut Asking<'_>,
    done: &str,
    secrets: impl IntoIterator<Item = (&'g str, &'g Given)>,
) -> Result<(), Failure> {
    let made: Vec<(&str, &str)> =
        secrets.into_iter().filter_map(|(name, given)| Some((name, given.made()?))).collect();
    asking.say(done)?;
    if made.is_empty() {
        return Ok(());
    }
    if asking.format == Format::Table {
        asking.say("Passwords, shown once:")?;
    }
    let rows = made.iter().map(|(name, text)| vec![(*name).to_owned(), (*text).to_owned()]).collect();
    let values: serde_json::Map<String, serde_json::Value> =
        made.iter().map(|(name, text)| ((*name).to_owned(), (*text).into())).collect();
    asking.print(&Table { headings: &["USERNAME", "PASSWORD"], rows }, &values)
}

fn user_row(user: &UserView) -> Vec<String> {
    let yes = |yes: bool| String::from(if yes { "yes" } else { "no" });
    vec![
        user.name.clone(),
        or_dash(user.display.as_deref()),
        or_dash(user.extension.as_deref()),
        user.origin.clone(),
        yes(user.login),
        yes(user.pin),
        user.devices.iter().map(|device| device.id.as_str()).collect::<Vec<_>>().join(" "),
        or_dash(user.pbx.as_ref().map(|pbx| format!("{} {}", pbx.trunk, pbx.state)).as_deref()),
    ]
}

fn device_row(device: &DeviceView) -> Vec<String> {
    let trust = if device.trust == TrustName::Shared { "shared" } else { "personal" };
    vec![
        device.id.clone(),
        device.address.clone(),
        device.auth_user.clone(),
        trust.into(),
        String::from(if device.registered { "yes" } else { "no" }),
        device.hold_off_s.map_or_else(|| "-".into(), |seconds| seconds.to_string()),
        or_dash(device.signed_in.as_deref()),
    ]
}
