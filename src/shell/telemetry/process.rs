//! The process collector: what Prometheus clients tell of every process, read from `/proc/self` on each scrape.

use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Reads `/proc/self`. What cannot be read is left out.
#[derive(Debug)]
pub(super) struct Process {
    ticks_per_second: f64,
    page_bytes: u64,
    started: Option<f64>,
}

impl Process {
    pub(super) fn new() -> Self {
        // SAFETY: `sysconf` takes a name, gives a number and changes nothing.
        #[expect(unsafe_code, reason = "the standard library does not tell clock ticks and page size")]
        let (ticks, page) = unsafe { (libc::sysconf(libc::_SC_CLK_TCK), libc::sysconf(libc::_SC_PAGESIZE)) };
        let ticks_per_second = if ticks > 0 { ticks as f64 } else { 100.0 };
        let page_bytes = u64::try_from(page).unwrap_or(4096);
        let started = start_time(ticks_per_second);
        Self { ticks_per_second, page_bytes, started }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(Stat::parse) {
            let cpu = ConstCounter::new(stat.cpu_ticks as f64 / self.ticks_per_second);
            let help = "Processor time, user and system, in seconds";
            cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?)?;
            let resident = stat.resident_pages * self.page_bytes;
            gauge(&mut encoder, "process_resident_memory_bytes", "Resident memory", int(resident))?;
            gauge(&mut encoder, "process_virtual_memory_bytes", "Virtual memory", int(stat.virtual_bytes))?;
            gauge(&mut encoder, "process_threads", "Threads", int(stat.threads))?;
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            // The directory that is being read is one of them.
            let open = open.count().saturating_sub(1) as u64;
            gauge(&mut encoder, "process_open_fds", "Open file descriptors", int(open))?;
        }
        if let Some(max) = fs::read_to_string("/proc/self/limits").ok().as_deref().and_then(max_files) {
            gauge(&mut encoder, "process_max_fds", "Most file descriptors that may be open", int(max))?;
        }
        if let Some(started) = self.started {
            let help = "Start of the process, Unix seconds";
            gauge(&mut encoder, "process_start_time_seconds", help, started)?;
        }
        Ok(())
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: impl EncodeGaugeValue,
) -> std::fmt::Result {
    ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// What is of interest in `/proc/self/stat`, see proc_pid_stat(5).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name of the program, in parentheses, may hold blanks and parentheses; the fields begin after the last.
        let (_, rest) = text.rsplit_once(") ")?;
        // `rest` begins with field 3.
        let field = |number: usize| rest.split_ascii_whitespace().nth(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

fn start_time(ticks_per_second: f64) -> Option<f64> {
    let stat = Stat::parse(&fs::read_to_string("/proc/self/stat").ok()?)?;
    let system = fs::read_to_string("/proc/stat").ok()?;
    let boot: f64 = system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + stat.start_ticks as f64 / ticks_per_second)
}

fn max_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_program_is_called() {
        let line = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22\n";
        let stat = Stat::parse(line).unwrap();
        assert_eq!(stat.cpu_ticks, 11 + 12);
        assert_eq!((stat.threads, stat.start_ticks), (17, 19));
        assert_eq!((stat.virtual_bytes, stat.resident_pages), (20, 21));
        assert_eq!(Stat::parse("7 (a) S 1"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn limits_are_read_and_unlimited_is_left_out() {
        assert_eq!(
            max_files("Max cpu time  unlimited\nMax open files            1024   4096   files\n"),
            Some(1024)
        );
        assert_eq!(max_files("Max open files            unlimited   unlimited   files\n"), None);
    }
}
