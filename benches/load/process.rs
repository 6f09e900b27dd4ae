//! What a server costs: CPU time and memory of a process and all its descendants, from `/proc`.

use std::collections::BTreeMap;
use std::fs;

struct Stat {
    parent: u32,
    ticks: u64,
}

/// Field 2 of `/proc/PID/stat` is in brackets and may hold anything; what follows counts from field 3 (proc(5)).
fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat { parent: number(4)? as u32, ticks: number(14)? + number(15)? })
}

fn family(root: u32) -> BTreeMap<u32, Stat> {
    let all = fs::read_dir("/proc").expect("/proc").flatten();
    let mut strangers: BTreeMap<u32, Stat> = all
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat(pid)?)))
        .collect();
    let mut family = BTreeMap::new();
    let mut found = vec![root];
    while let Some(pid) = found.pop() {
        found.extend(strangers.iter().filter(|(_, stat)| stat.parent == pid).map(|(pid, _)| *pid));
        family.extend(strangers.remove_entry(&pid));
    }
    assert!(!family.is_empty(), "no process {root}");
    family
}

/// User and system time of all threads, seconds.
pub(crate) fn cpu(root: u32) -> f64 {
    // SAFETY: sysconf reads a constant.
    let a_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    family(root).values().map(|stat| stat.ticks).sum::<u64>() as f64 / a_second
}

/// Resident memory, KiB: the proportional share of each process, so that what workers share counts once.
pub(crate) fn memory(root: u32) -> u64 {
    let of = |pid: &u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        text.lines()
            .find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok())
    };
    family(root).keys().filter_map(of).sum()
}
