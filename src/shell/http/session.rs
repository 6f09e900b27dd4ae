//! Bearer tokens: 256 random bits, kept as their SHA-256, in memory only. A restart ends every session.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

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

/// Who holds which token.
pub(super) struct Sessions {
    admin: TokenHash,
    users: Mutex<BTreeMap<TokenHash, Session>>,
}

struct Session {
    user: Box<str>,
    ends: Instant,
}

impl Sessions {
    /// None, and the administrator's token in `data_dir`, which is made where there is none.
    ///
    /// # Errors
    /// Where the file can be neither read nor written, or holds less than a token.
    pub(super) fn open(data_dir: &Path) -> io::Result<Self> {
        Ok(Self { admin: TokenHash::of(&admin_token(data_dir)?), users: Mutex::default() })
    }

    /// A new session of `user`: its token, which is not kept.
    pub(super) fn begin(&self, user: &str, now: Instant) -> io::Result<String> {
        let token = mint()?;
        let mut users = self.lock();
        users.retain(|_, session| session.ends > now);
        let own = users.values().filter(|session| *session.user == *user).count();
        let crowded = if own >= PER_USER { Some(user) } else { None };
        if crowded.is_some() || users.len() >= IN_ALL {
            let first = users
                .iter()
                .filter(|(_, session)| crowded.is_none_or(|user| *session.user == *user))
                .min_by_key(|(_, session)| session.ends)
                .map(|(hash, _)| *hash);
            first.and_then(|hash| users.remove(&hash));
        }
        users.insert(TokenHash::of(&token), Session { user: user.into(), ends: now + LIFETIME });
        Ok(token)
    }

    /// Who holds the token now.
    pub(super) fn subject(&self, token: &TokenHash, now: Instant) -> Option<Subject> {
        // Hashes of random tokens are compared, so a comparison that stops early tells nothing of a token.
        if *token == self.admin {
            return Some(Subject::Admin);
        }
        let users = self.lock();
        users
            .get(token)
            .filter(|session| session.ends > now)
            .map(|session| Subject::User(session.user.clone()))
    }

    /// Ends one session. The administrator's token ends when its file is removed and the node restarted.
    pub(super) fn end(&self, token: &TokenHash) {
        self.lock().remove(token);
    }

    /// Ends the sessions of a user, whose account was changed or removed.
    pub(super) fn end_all_of(&self, user: &str) {
        self.lock().retain(|_, session| *session.user != *user);
    }

    /// Ends every session of users.
    pub(super) fn end_all(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<TokenHash, Session>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn mint() -> io::Result<String> {
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

    #[test]
    fn a_token_holds_until_it_ends() {
        let ((sessions, _dir), now) = (sessions(), Instant::now());
        let token = TokenHash::of(&sessions.begin("alice", now).unwrap());
        assert_eq!(sessions.subject(&token, now), Some(Subject::User("alice".into())));
        assert_eq!(sessions.subject(&token, now + LIFETIME), None);
        assert_eq!(sessions.subject(&TokenHash::of("x"), now), None);
        sessions.end(&token);
        assert_eq!(sessions.subject(&token, now), None);
    }

    #[test]
    fn a_changed_account_loses_its_sessions_and_no_other() {
        let ((sessions, _dir), now) = (sessions(), Instant::now());
        let alice = TokenHash::of(&sessions.begin("alice", now).unwrap());
        let bob = TokenHash::of(&sessions.begin("bob", now).unwrap());
        sessions.end_all_of("alice");
        assert_eq!(sessions.subject(&alice, now), None);
        assert!(sessions.subject(&bob, now).is_some());
    }

    #[test]
    fn one_user_cannot_push_another_out() {
        let ((sessions, _dir), now) = (sessions(), Instant::now());
        let bob = TokenHash::of(&sessions.begin("bob", now).unwrap());
        let tokens: Vec<_> = (0..PER_USER + 3)
            .map(|n| {
                let at = now + Duration::from_secs(1 + n as u64);
                TokenHash::of(&sessions.begin("alice", at).unwrap())
            })
            .collect();
        let alive = |token| sessions.subject(token, now).is_some();
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
        assert_eq!(again.subject(&TokenHash::of(token.trim()), Instant::now()), Some(Subject::Admin));
        fs::write(&path, "short\n").unwrap();
        assert!(Sessions::open(dir.path()).is_err(), "an empty or short token would let anybody in");
    }
}
