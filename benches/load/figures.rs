//! Times that were taken, and the shares of them.

/// Microseconds, one entry an event.
#[derive(Default)]
pub(crate) struct Times(Vec<u32>);

impl Times {
    pub(crate) fn add(&mut self, us: u64) {
        self.0.push(u32::try_from(us).unwrap_or(u32::MAX));
    }

    /// What `permille` of all stay below, in ms. Zero where there is none.
    pub(crate) fn at(&mut self, permille: usize) -> f64 {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        let us = self.0.get((self.0.len() * permille / 1000).min(last)).copied().unwrap_or(0);
        f64::from(us) / 1000.0
    }
}

/// A run counts when at most 0.1 % of its work failed or had to be repeated, and it was offered at the rate asked for.
pub(crate) fn verdict(all: u64, failed: u64, repeated: u64, (reached, asked): (f64, u64)) -> &'static str {
    let is_paced = reached >= 0.99 * asked as f64;
    if (failed + repeated) * 1000 <= all && is_paced { "yes" } else { "no" }
}

/// `cpu` seconds for `count`, told per `unit` of it; `-` where no process was named.
pub(crate) fn per(cpu: Option<f64>, count: u64, unit: f64) -> String {
    cpu.map_or_else(|| "-".into(), |cpu| format!("{:.3}", cpu * unit / count.max(1) as f64))
}
