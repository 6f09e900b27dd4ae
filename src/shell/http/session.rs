//! Sessions: a token of 256 random bits, kept as its SHA-256, in memory only; and the phones that are lent to them.
//! A restart ends every session, and a phone goes with its session.

use std::collections::{BTreeMap, VecDeque};
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

/// Phones lent to one session: a few tabs. One that is not registered gives way to another.
pub(super) const PHONES_EACH: usize = 4;

/// Changes of accounts that are remembered for sign-ins under way; a sign-in takes a second, with argon2 in it.
const CHANGES: usize = 64;

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
    /// When the account was read: [`Sessions::moment`] before that.
    pub(super) as_of: Moment,
}

/// How many changes of accounts there were.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Moment(u64);

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotBegun {
    /// What was proved held for the account as it was.
    #[error("the account was changed meanwhile")]
    Changed,
    /// Nothing to make a token of.
    #[error("no randomness for a token: {0}")]
    NoRandomness(#[from] io::Error),
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
    /// How many changes of accounts there were, and the last of them, each with its number. Without a name: of all.
    changes: u64,
    changed: VecDeque<(u64, Option<Box<str>>)>,
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

    /// Now, to be taken before an account is read of which something is to be proved.
    pub(super) fn moment(&self) -> Moment {
        Moment(self.lock().changes)
    }

    /// A new session: its token, which is not kept.
    ///
    /// # Errors
    /// Where the account was changed after it was read, and where there is no randomness.
    pub(super) fn begin(&self, grant: Grant, carrier: Carrier, now: Instant) -> Result<String, NotBegun> {
        let token = mint()?;
        let mut table = self.lock();
        if table.has_changed(&grant) {
            return Err(NotBegun::Changed);
        }
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
        table.note_change(Some(user.into()));
        table.end_where(|session| *session.grant.user == *user);
        self.tell(&table);
    }

    /// Ends every session of users.
    pub(super) fn end_all(&self) {
        let mut table = self.lock();
        table.note_change(None);
        table.end_where(|_| true);
        self.tell(&table);
    }

    /// Ends what is over.
    pub(super) fn sweep(&self, now: Instant) {
        let mut table = self.lock();
        table.end_where(|session| session.ends <= now);
    }

    /// The devices that are lent to the session, the one that was lent first at the front.
    pub(super) fn phones(&self, token: &TokenHash) -> Vec<Box<str>> {
        self.lock().sessions.get(token).map(|session| session.phones.clone()).unwrap_or_default()
    }

    /// A device was lent to the session, and goes with it. Where that is over already, the device goes at once.
    pub(super) fn add_phone(&self, token: &TokenHash, phone: Phone) {
        let mut table = self.lock();
        let Table { sessions, orphans, .. } = &mut *table;
        match sessions.get_mut(token) {
            None => orphans.push(phone),
            Some(session) => {
                session.phones.retain(|known| *known != phone.device);
                session.phones.push(phone.device);
            }
        }
        self.tell(&table);
    }

    /// The session gives a device back; false where it has none of that name.
    pub(super) fn give_back(&self, token: &TokenHash, device: &str) -> bool {
        let mut table = self.lock();
        let Table { sessions, orphans, .. } = &mut *table;
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
    fn note_change(&mut self, user: Option<Box<str>>) {
        self.changes += 1;
        if self.changed.len() >= CHANGES {
            self.changed.pop_front();
        }
        self.changed.push_back((self.changes, user));
    }

    /// Whether the account of a grant is another one than when it was read; so it is, where that is too long ago to know.
    fn has_changed(&self, grant: &Grant) -> bool {
        let Moment(as_of) = grant.as_of;
        let oldest = self.changed.front().map_or(self.changes, |(number, _)| number - 1);
        let is_meant = |user: &Option<Box<str>>| user.as_ref().is_none_or(|user| *user == grant.user);
        as_of < oldest || self.changed.iter().any(|(number, user)| *number > as_of && is_meant(user))
    }

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
        let grant = Grant { user: user.into(), admin: false, as_of: sessions.moment() };
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
        let grant = Grant { user: "alice".into(), admin: true, as_of: sessions.moment() };
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
        assert_eq!((sessions.phones(&alice).len(), sessions.phones(&bob).len()), (2, 1));
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
    fn a_sign_in_that_was_proved_before_its_account_changed_begins_nothing() {
        let ((sessions, _dir), now) = (sessions(), Instant::now());
        let begin = |user: &str, as_of| {
            sessions.begin(Grant { user: user.into(), admin: false, as_of }, Carrier::Header, now)
        };
        let before = sessions.moment();
        sessions.end_all_of("alice");
        assert!(matches!(begin("alice", before), Err(NotBegun::Changed)));
        assert!(begin("bob", before).is_ok() && begin("alice", sessions.moment()).is_ok());
        sessions.end_all();
        assert!(matches!(begin("bob", before), Err(NotBegun::Changed)), "nobody knows which accounts");
        let before = sessions.moment();
        (0..CHANGES).for_each(|_| sessions.end_all_of("carol"));
        assert!(begin("bob", before).is_ok());
        sessions.end_all_of("carol");
        assert!(matches!(begin("bob", before), Err(NotBegun::Changed)), "too long ago to know");
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
