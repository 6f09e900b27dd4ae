//! What the kernel says of this machine.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::judge::Range;

/// Whether the clock is kept right (adjtimex(2)); `None` where the system does not say.
pub(super) fn is_synchronised() -> Option<bool> {
    // SAFETY: all bytes of `timex` may be zero; mode 0 only reads, into a local of the right type.
    #[expect(unsafe_code, reason = "the standard library does not ask the kernel for its clock discipline")]
    let (state, status) = unsafe {
        let mut clock: libc::timex = std::mem::zeroed();
        let state = libc::adjtimex(&raw mut clock);
        (state, clock.status)
    };
    match state {
        -1 => None,
        libc::TIME_ERROR => Some(false),
        _ => Some(status & libc::STA_UNSYNC == 0),
    }
}

/// Bytes that are free for us where `path` is.
pub(super) fn free_space(path: &Path) -> Option<u64> {
    use std::os::unix::ffi::OsStrExt as _;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: all bytes of `statvfs` may be zero; the path ends with a zero byte, and the other is a local of the right type.
    #[expect(unsafe_code, reason = "the standard library does not tell of free space")]
    let (done, found) = unsafe {
        let mut found: libc::statvfs = std::mem::zeroed();
        (libc::statvfs(path.as_ptr(), &raw mut found), found)
    };
    (done == 0).then(|| found.f_bavail.saturating_mul(found.f_frsize))
}

/// Whether who is neither owner nor of the group may read `path`.
pub(super) fn is_open(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.mode() & 0o007 != 0)
}

/// A number of `/proc/sys`.
pub(super) fn setting(name: &str) -> Option<u64> {
    fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?.trim().parse().ok()
}

/// The ports that the system gives away by itself, and those that it leaves out.
pub(super) fn ephemeral() -> Option<(Range, Vec<Range>)> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut ends = text.split_whitespace().filter_map(|end| end.parse().ok());
    let range = (ends.next()?, ends.next()?);
    let reserved = fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default();
    let range_of = |part: &str| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        Some((from.trim().parse().ok()?, to.trim().parse().ok()?))
    };
    Some((range, reserved.trim().split(',').filter_map(range_of).collect()))
}

/// The soft limit of open files of a process.
pub(super) fn open_files_of(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The zone of the machine's clock, as `Europe/Berlin`.
pub(super) fn zone() -> String {
    let of_link = || {
        let target = fs::canonicalize("/etc/localtime").ok()?;
        target.to_str()?.split_once("zoneinfo/").map(|(_, zone)| zone.to_owned())
    };
    std::env::var("TZ")
        .ok()
        .filter(|zone| !zone.is_empty())
        .or_else(of_link)
        .unwrap_or_else(|| "UTC".to_owned())
}
