//! Argon2id on a bounded pool of blocking threads.
