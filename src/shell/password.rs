//! Argon2id on a bounded pool of blocking threads.
//!
//! One verification is tens of milliseconds of processor time and [`Cost::memory_kib`] of memory, so it never runs
//! on a signalling worker or a runtime thread, few run at once, few wait, and none waits long. Whoever has no hash
//! costs as much as whoever has one.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

/// Longest password that is looked at; NIST SP 800-63B asks for at least 64.
pub const MAX_LEN: usize = 256;

/// What one computation costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub iterations: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Default for Cost {
    /// 19 MiB, two passes, one lane: the second of OWASP's equivalent settings, 30 to 55 ms on one core here. More
    /// memory would let a burst of logins take the node's.
    fn default() -> Self {
        Self { memory_kib: 19 * 1024, iterations: 2, lanes: 1 }
    }
}

/// How much the pool may take.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Verifications at once; memory is this times [`Cost::memory_kib`].
    pub threads: usize,
    /// Verifications that may wait.
    pub queue: usize,
    /// How long one may wait; later it is [`Outcome::Busy`], and whoever asked has most likely gone.
    pub wait: Duration,
    /// Cost of a verification for whoever has no hash. Equal to that of the hashes, or timing tells them apart.
    pub cost: Cost,
}

impl Default for Settings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // Half the cores: logins never take what calls need. 64 waiting at 50 ms each are 3 s on one thread.
        Self {
            threads: (cores / 2).clamp(1, 8),
            queue: 64,
            wait: Duration::from_secs(3),
            cost: Cost::default(),
        }
    }
}

/// What came of a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is the password.
    Accepted,
    /// It is not, or there is no hash, or the hash is not one.
    Rejected,
    /// Nobody looked: too many wait.
    Busy,
}

/// Why a password cannot be hashed.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// Nothing there.
    #[error("the password is empty")]
    Empty,
    /// Too long.
    #[error("the password is longer than {MAX_LEN} bytes")]
    TooLong,
    /// The cost is out of range, or the system gave no randomness.
    #[error("argon2: {0}")]
    Argon2(String),
}

/// The `$argon2id$…` hash of a password. Takes tens of milliseconds.
///
/// # Errors
/// [`HashError`] for an empty or overlong password.
pub fn hash(password: &str, cost: Cost) -> Result<String, HashError> {
    match password.len() {
        0 => return Err(HashError::Empty),
        len if len > MAX_LEN => return Err(HashError::TooLong),
        _ => {}
    }
    let failed = |error: &dyn std::fmt::Display| HashError::Argon2(error.to_string());
    let params =
        Params::new(cost.memory_kib, cost.iterations, cost.lanes, None).map_err(|error| failed(&error))?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    Ok(argon2.hash_password(password.as_bytes()).map_err(|error| failed(&error))?.to_string())
}

/// The pool. Cheap to clone; its threads end with the last clone.
#[derive(Clone)]
pub struct Passwords(Arc<Pool>);

struct Pool {
    jobs: crossbeam_channel::Sender<Job>,
    wait: Duration,
    computed: Arc<AtomicU64>,
}

struct Job {
    password: Zeroizing<String>,
    hash: Option<Box<str>>,
    late: Instant,
    done: Box<dyn FnOnce(Outcome) + Send>,
}

impl Passwords {
    /// Starts the threads.
    ///
    /// # Errors
    /// Where the system gives no thread, or no randomness for the dummy hash.
    pub fn start(settings: Settings) -> io::Result<Self> {
        let mut random = [0_u8; 16];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let unknowable: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let dummy: Arc<str> = hash(&unknowable, settings.cost).map_err(io::Error::other)?.into();
        let (jobs, receiver) = crossbeam_channel::bounded(settings.queue.max(1));
        let computed = Arc::new(AtomicU64::new(0));
        for number in 0..settings.threads.max(1) {
            let (receiver, dummy, computed) = (receiver.clone(), Arc::clone(&dummy), Arc::clone(&computed));
            std::thread::Builder::new()
                .name(format!("argon2-{number}"))
                .spawn(move || work(&receiver, &dummy, &computed))?;
        }
        Ok(Self(Arc::new(Pool { jobs, wait: settings.wait, computed })))
    }

    /// Has `password` checked against `hash` and calls `done` once, on a thread of the pool, or at once on this one
    /// where too many wait. For callers outside the runtime, such as a signalling worker with a PIN.
    pub fn submit(
        &self,
        password: Zeroizing<String>,
        hash: Option<Box<str>>,
        done: impl FnOnce(Outcome) + Send + 'static,
    ) {
        let job = Job { password, hash, late: Instant::now() + self.0.wait, done: Box::new(done) };
        if let Err(refused) = self.0.jobs.try_send(job) {
            (refused.into_inner().done)(Outcome::Busy);
        }
    }

    /// As [`Passwords::submit`], awaited.
    pub async fn verify(&self, password: Zeroizing<String>, hash: Option<Box<str>>) -> Outcome {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.submit(password, hash, |outcome| {
            let _ = sender.send(outcome);
        });
        receiver.await.unwrap_or(Outcome::Busy)
    }

    /// How many verifications were computed: the same number for every attempt, whoever it was for.
    #[must_use]
    pub fn computed(&self) -> u64 {
        self.0.computed.load(Ordering::Relaxed)
    }
}

/// A thread of the pool, until the last [`Passwords`] is gone.
fn work(jobs: &crossbeam_channel::Receiver<Job>, dummy: &str, computed: &AtomicU64) {
    yield_to_calls();
    while let Ok(job) = jobs.recv() {
        let outcome = if Instant::now() >= job.late {
            Outcome::Busy
        } else {
            computed.fetch_add(1, Ordering::Relaxed);
            verify(&job.password, job.hash.as_deref(), dummy)
        };
        (job.done)(outcome);
    }
}

/// One argon2 computation, whatever comes in.
fn verify(password: &str, hash: Option<&str>, dummy: &str) -> Outcome {
    let parsed = match hash.map(PasswordHash::new) {
        Some(Ok(parsed)) => Some(parsed),
        Some(Err(error)) => {
            tracing::error!(%error, "a stored password hash is not a PHC string; its owner cannot sign in");
            None
        }
        None => None,
    };
    let argon2 = Argon2::default();
    match parsed.filter(|_| password.len() <= MAX_LEN) {
        Some(parsed) if argon2.verify_password(password.as_bytes(), &parsed).is_ok() => Outcome::Accepted,
        Some(_) => Outcome::Rejected,
        None => {
            let head = password.as_bytes();
            if let Ok(dummy) = PasswordHash::new(dummy) {
                let _ = argon2.verify_password(head.get(..MAX_LEN).unwrap_or(head), &dummy);
            }
            Outcome::Rejected
        }
    }
}

/// Lowers the priority of this thread, so that a burst of logins does not delay packets.
fn yield_to_calls() {
    const NICE: libc::c_int = 10;
    // SAFETY: both calls take and give plain numbers; on Linux a thread id names one thread to `setpriority`.
    #[expect(unsafe_code, reason = "the standard library cannot set priorities")]
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, libc::gettid() as libc::id_t, NICE) };
    if result != 0 {
        tracing::debug!("the password threads keep their priority: {}", io::Error::last_os_error());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cheapest cost that argon2 takes: what is tested is who pays, not how much.
    const CHEAP: Cost = Cost { memory_kib: 8, iterations: 1, lanes: 1 };

    fn pool(threads: usize, queue: usize, wait: Duration) -> Passwords {
        Passwords::start(Settings { threads, queue, wait, cost: CHEAP }).unwrap()
    }

    fn secret(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.into())
    }

    #[tokio::test]
    async fn every_attempt_costs_one_computation() {
        let pool = pool(1, 8, Duration::from_secs(60));
        let stored: Box<str> = hash("correct horse", CHEAP).unwrap().into();
        let long = "x".repeat(MAX_LEN + 1);
        let cases = [
            ("correct horse", Some(stored.clone()), Outcome::Accepted),
            ("wrong", Some(stored.clone()), Outcome::Rejected),
            ("", Some(stored.clone()), Outcome::Rejected),
            (&long, Some(stored.clone()), Outcome::Rejected),
            ("correct horse", None, Outcome::Rejected),
            ("correct horse", Some("not a hash".into()), Outcome::Rejected),
            ("correct horse", Some("$argon2id$v=19$m=8,t=1,p=1$".into()), Outcome::Rejected),
        ];
        for (count, (password, hash, expected)) in cases.into_iter().enumerate() {
            assert_eq!(pool.verify(secret(password), hash).await, expected, "{password}");
            assert_eq!(pool.computed(), count as u64 + 1, "{password}");
        }
    }

    #[tokio::test]
    async fn too_many_are_turned_away_at_once_and_each_is_told() {
        let pool = pool(1, 2, Duration::from_secs(60));
        let (entered, block) = (crossbeam_channel::bounded(0), crossbeam_channel::bounded::<()>(0));
        let (tell, wait) = (entered.0, block.1);
        pool.submit(secret("a"), None, move |_| {
            tell.send(()).unwrap();
            let _ = wait.recv();
        });
        entered.1.recv().unwrap();
        // The one thread is held; two wait; the fourth finds no place.
        let waiting: Vec<_> = (0..2)
            .map(|_| {
                let (sender, receiver) = tokio::sync::oneshot::channel();
                pool.submit(secret("b"), None, |outcome| sender.send(outcome).unwrap());
                receiver
            })
            .collect();
        assert_eq!(pool.verify(secret("c"), None).await, Outcome::Busy);
        drop(block.0);
        for waiting in waiting {
            assert_eq!(waiting.await, Ok(Outcome::Rejected));
        }
        assert_eq!(pool.computed(), 3);
    }

    #[tokio::test]
    async fn who_waited_too_long_is_not_computed() {
        let pool = pool(1, 2, Duration::ZERO);
        assert_eq!(pool.verify(secret("a"), None).await, Outcome::Busy);
        assert_eq!(pool.computed(), 0);
    }

    #[test]
    fn hashes_say_their_cost_and_refuse_nonsense() {
        let text = hash("correct horse", Cost::default()).unwrap();
        assert!(text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
        assert!(matches!(hash("", CHEAP), Err(HashError::Empty)));
        assert!(matches!(hash(&"x".repeat(MAX_LEN + 1), CHEAP), Err(HashError::TooLong)));
        assert!(matches!(hash("x", Cost { lanes: 0, ..CHEAP }), Err(HashError::Argon2(_))));
    }
}
