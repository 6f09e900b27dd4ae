//! Moving a live call: grant, machine, hold-off, directory, timeline.

pub mod directory;
pub mod grant;
pub mod hold_off;
pub mod identifier;
pub mod machine;
pub mod replaces;
pub mod star_code;
pub mod timeline;
