//! Users and their devices, found by name, extension and digest identity.
