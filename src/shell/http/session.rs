//! Sessions: a token of 256 random bits, kept as its SHA-256, in memory only; and the phones that are lent to them.
//! A restart ends every session, and a phone goes with its session.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

use crate::engine::command::Subject;

/// How long a token of a login holds: a working day with its evening.
pub(super) const LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// Sessions of one user; the oldest gives way.
const PER_USER: usize = 16;

/// Sessions of all; the one that ends first gives way.
const IN_ALL: usize = 20_000;

/// File in the data directory that holds the administrator's token.
pub(super) const ADMIN_FILE: &str = "admin.token";

/// The SHA-256 of a token: what is kept, compared and passed on inside.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TokenHash([u8; 32]);

impl TokenHash {
    pub(super) fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }
}

/// Phones lent to one session; the one that was lent first gives way.
const PHONES_EACH: usize = 4;

/// How a token comes with each request. One that is carried one way is worth nothing the other way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Carrier {
    /// `Authorization: Bearer`, by a program that holds it.
    Header,
    /// A cookie, by a browser that sends it whoever made the request: see `browser`.
    Cookie,
}

/// Whose session it is, and what it may.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) user: Box<str>,
    /// Everything, instead of what is the user's.
    pub(super) admin: bool,
}

/// Who holds a token.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    pub(super) subject: Subject,
    /// None for the administrator's token, which is nobody's.
    pub(super) user: Option<Box<str>>,
    pub(super) ends: Option<Instant>,
}

/// A device that was lent to a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Phone {
    pub(super) user: Box<str>,
    pub(super) device: Box<str>,
}

/// Who holds which token.
pub(super) struct Sessions {
    admin: TokenHash,
    table: Mutex<Table>,
    orphaned: Notify,
}

#[derive(Default)]
struct Table {
    sessions: BTreeMap<TokenHash, Session>,
    /// Phones whose session has ended; they are to be taken back.
    orphans: Vec<Phone>,
}

struct Session {
    grant: Grant,
    carrier: Carrier,
    ends: Instant,
    phones: Vec<Box<str>>,
}

impl Sessions {
    /// None, and the administrator's token in `data_dir`, which is made where there is none.
    ///
    /// # Errors
    /// Where the file can be neither read nor written, or holds less than a token.
    pub(super) fn open(data_dir: &Path) -> io::Result<Self> {
        let admin = TokenHash::of(&admin_token(data_dir)?);
        Ok(Self { admin, table: Mutex::default(), orphaned: Notify::new() })
    }

    /// A new session: its token, which is not kept.
    pub(super) fn begin(&self, grant: Grant, carrier: Carrier, now: Instant) -> io::Result<String> {
        let token = mint()?;
        let mut table = self.lock();
        table.end_where(|session| session.ends <= now);
        let own = table.sessions.values().filter(|session| session.grant.user == grant.user).count();
        let crowded = (own >= PER_USER).then_some(&grant.user);
        if crowded.is_some() || table.sessions.len() >= IN_ALL {
            let first = table
                .sessions
                .iter()
                .filter(|(_, session)| crowded.is_none_or(|user| session.grant.user == *user))
                .min_by_key(|(_, session)| session.ends)
                .map(|(hash, _)| *hash);
            first.inspect(|hash| table.end(hash));
        }
        let session = Session { grant, carrier, ends: now + LIFETIME, phones: Vec::new() };
        table.sessions.insert(TokenHash::of(&token), session);
        self.tell(&table);
        Ok(token)
    }

    /// Who holds the token now, if it came as it was given out.
    pub(super) fn holder(&self, token: &TokenHash, carrier: Carrier, now: Instant) -> Option<Holder> {
        // Hashes of random tokens are compared, so a comparison that stops early tells nothing of a token.
        if *token == self.admin && carrier == Carrier::Header {
            return Some(Holder { subject: Subject::Admin, user: None, ends: None });
        }
        let table = self.lock();
        let found = table.sessions.get(token);
        found.filter(|session| session.ends > now && session.carrier == carrier).map(|session| Holder {
            subject: match session.grant.admin {
                true => Subject::Admin,
                false => Subject::User(session.grant.user.clone()),
            },
            user: Some(session.grant.user.clone()),
            ends: Some(session.ends),
        })
    }

    /// Ends one session. The administrator's token ends when its file is removed and the node restarted.
    pub(super) fn end(&self, token: &TokenHash) {
        let mut table = self.lock();
        table.end(token);
        self.tell(&table);
    }

    /// Ends the sessions of a user, whose account was changed or removed.
    pub(super) fn end_all_of(&self, user: &str) {
        let mut table = self.lock();
        table.end_where(|session| *session.grant.user == *user);
        self.tell(&table);
    }

    /// Ends every session of users.
    pub(super) fn end_all(&self) {
        let mut table = self.lock();
        table.end_where(|_| true);
        self.tell(&table);
    }

    /// Ends what is over.
    pub(super) fn sweep(&self, now: Instant) {
        let mut table = self.lock();
        table.end_where(|session| session.ends <= now);
    }

    /// Whether that device was lent to the session.
    pub(super) fn has_phone(&self, token: &TokenHash, device: &str) -> bool {
        self.lock().sessions.get(token).is_some_and(|session| session.phones.iter().any(|p| **p == *device))
    }

    /// A device was lent to the session, and goes with it. Where that is over already, the device goes at once.
    pub(super) fn add_phone(&self, token: &TokenHash, phone: Phone) {
        let mut table = self.lock();
        let Table { sessions, orphans } = &mut *table;
        match sessions.get_mut(token) {
            None => orphans.push(phone),
            Some(session) => {
                session.phones.retain(|known| *known != phone.device);
                session.phones.push(phone.device);
                if session.phones.len() > PHONES_EACH {
                    let device = session.phones.remove(0);
                    orphans.push(Phone { user: phone.user, device });
                }
            }
        }
        self.tell(&table);
    }

    /// The session gives a device back; false where it has none of that name.
    pub(super) fn give_back(&self, token: &TokenHash, device: &str) -> bool {
        let mut table = self.lock();
        let Table { sessions, orphans } = &mut *table;
        let Some(session) = sessions.get_mut(token) else { return false };
        let Some(at) = session.phones.iter().position(|known| **known == *device) else { return false };
        let device = session.phones.remove(at);
        orphans.push(Phone { user: session.grant.user.clone(), device });
        true
    }

    /// Phones that nobody has any more; the caller sees to them, or brings them back.
    pub(super) fn take_orphans(&self) -> Vec<Phone> {
        std::mem::take(&mut self.lock().orphans)
    }

    /// A phone that could not be taken back now.
    pub(super) fn keep_orphan(&self, phone: Phone) {
        self.lock().orphans.push(phone);
    }

    /// Returns when a phone has lost its session.
    pub(super) async fn orphaned(&self) {
        self.orphaned.notified().await;
    }

    fn tell(&self, table: &Table) {
        if !table.orphans.is_empty() {
            self.orphaned.notify_one();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn end(&mut self, token: &TokenHash) {
        if let Some(Session { grant, phones, .. }) = self.sessions.remove(token) {
            let user = &grant.user;
            self.orphans.extend(phones.into_iter().map(|device| Phone { user: user.clone(), device }));
        }
    }

    fn end_where(&mut self, is_over: impl Fn(&Session) -> bool) {
        let over = self.sessions.iter().filter(|(_, session)| is_over(session)).map(|(hash, _)| *hash);
        for hash in over.collect::<Vec<_>>() {
            self.end(&hash);
        }
    }
}

/// 256 random bits in hexadecimal.
pub(super) fn mint() -> io::Result<String> {
    let mut random = [0_u8; 32];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn admin_token(data_dir: &Path) -> io::Result<String> {
    let path = data_dir.join(ADMIN_FILE);
    match fs::read_to_string(&path) {
        Ok(text) if text.trim().len() >= 32 => Ok(text.trim().into()),
        Ok(_) => {
            let why =
                format!("{}: a token has at least 32 characters; remove the file to get one", path.display());
            Err(io::Error::new(io::ErrorKind::InvalidData, why))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let token = mint()?;
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            writeln!(file, "{token}")?;
            Ok(token)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn sessions() -> (Sessions, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        (Sessions::open(dir.path()).unwrap(), dir)
    }

    fn begin(sessions: &Sessions, user: &str, now: Instant) -> TokenHash {
        let grant = Grant { user: user.into(), admin: false };
        TokenHash::of(&sessions.begin(grant, Carrier::Header, now).unwrap())
    }

    fn subject(sessions: &Sessions, token: &TokenHash, now: Instant) -> Option<Subject> {
        sessions.holder(token, Carrier::Header, now).map(|holder| holder.subject)
    }

    fn phone(user: &str, device: &str) -> Phone {
        Phone { user: user.into(), device: device.into() }
    }

    #[test]
    fn a_token_holds_until_it_ends() {
        let ((sessions, _dir), now) = (sessions(), Instant::now());
        let token = begin(&sessions, "alice", now);
        assert_eq!(subject(&sessions, &token, now), Some(Subject::User("alice".into())));
        assert_eq!(subject(&sessions, &token, now + LIFETIME), None);
        assert_eq!(subject(&sessions, &TokenHash::of("x"), now), None);
        sessions.end(&token);
        assert_eq!(subject(&sessions, &token, now), None);
    }

    #[test]
    fn a_token_holds_only_as_it_was_given_out() {
        let ((sessions, dir), now) = (sessions(), Instant::now());
        let grant = Grant { user: "alice".into(), admin: true };
        let cookie = TokenHash::of(&sessions.begin(grant, Carrier::Cookie, now).unwrap());
        assert!(sessions.holder(&cookie, Carrier::Header, now).is_none());
        let holder = sessions.holder(&cookie, Carrier::Cookie, now).unwrap();
        assert_eq!((holder.subject, holder.user.as_deref()), (Subject::Admin, Some("alice")));
        let bearer = begin(&sessions, "alice", now);
        assert!(sessions.holder(&bearer, Carrier::Cookie, now).is_none());
        let admin = fs::read_to_string(dir.path().join(ADMIN_FILE)).unwrap();
        assert!(sessions.holder(&TokenHash::of(admin.trim()), Carrier::Cookie, now).is_none());
    }

    #[test]
    fn a_phone_goes_with_its_session() {
        let ((sessions, _dir), now) = (sessions(), Instant::now());
        let (alice, bob) = (begin(&sessions, "alice", now), begin(&sessions, "bob", now));
        sessions.add_phone(&alice, phone("alice", "web-1"));
        sessions.add_phone(&alice, phone("alice", "web-2"));
        sessions.add_phone(&bob, phone("bob", "web-3"));
        assert!(sessions.has_phone(&alice, "web-1") && !sessions.has_phone(&bob, "web-1"));
        assert!(!sessions.give_back(&bob, "web-1"), "another's phone");
        assert!(sessions.give_back(&alice, "web-1") && !sessions.give_back(&alice, "web-1"));
        assert_eq!(sessions.take_orphans(), [phone("alice", "web-1")]);
        sessions.end(&alice);
        assert_eq!(sessions.take_orphans(), [phone("alice", "web-2")]);
        sessions.sweep(now + LIFETIME);
        assert_eq!(sessions.take_orphans(), [phone("bob", "web-3")]);
        sessions.add_phone(&bob, phone("bob", "web-4"));
        assert_eq!(sessions.take_orphans(), [phone("bob", "web-4")], "lent while the session ended");
    }

    #[test]
    fn a_session_has_a_few_phones_and_no_more() {
        let ((sessions, _dir), now) = (sessions(), Instant::now());
        let alice = begin(&sessions, "alice", now);
        let add = |name: &str| sessions.add_phone(&alice, phone("alice", name));
        (0..PHONES_EACH).for_each(|n| add(&format!("web-{n}")));
        add("web-0");
        assert_eq!(sessions.take_orphans(), [], "the same again");
        add("web-9");
        assert_eq!(sessions.take_orphans(), [phone("alice", "web-1")]);
        assert!(sessions.has_phone(&alice, "web-9") && sessions.has_phone(&alice, "web-0"));
    }

    #[test]
    fn a_changed_account_loses_its_sessions_and_no_other() {
        let ((sessions, _dir), now) = (sessions(), Instant::now());
        let (alice, bob) = (begin(&sessions, "alice", now), begin(&sessions, "bob", now));
        sessions.end_all_of("alice");
        assert_eq!(subject(&sessions, &alice, now), None);
        assert!(subject(&sessions, &bob, now).is_some());
    }

    #[test]
    fn one_user_cannot_push_another_out() {
        let ((sessions, _dir), now) = (sessions(), Instant::now());
        let bob = begin(&sessions, "bob", now);
        let tokens: Vec<_> = (0..PER_USER + 3)
            .map(|n| begin(&sessions, "alice", now + Duration::from_secs(1 + n as u64)))
            .collect();
        let alive = |token| subject(&sessions, token, now).is_some();
        assert_eq!(tokens.iter().filter(|token| alive(token)).count(), PER_USER);
        assert!(!alive(&tokens[0]) && alive(&tokens[PER_USER + 2]) && alive(&bob));
    }

    #[test]
    fn the_administrators_token_is_a_file_that_only_its_owner_reads() {
        let (_, dir) = sessions();
        let path = dir.path().join(ADMIN_FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let token = fs::read_to_string(&path).unwrap();
        let again = Sessions::open(dir.path()).unwrap();
        assert_eq!(subject(&again, &TokenHash::of(token.trim()), Instant::now()), Some(Subject::Admin));
        fs::write(&path, "short\n").unwrap();
        assert!(Sessions::open(dir.path()).is_err(), "an empty or short token would let anybody in");
    }
}
