//! Notifier side of subscriptions (RFC 6665).
