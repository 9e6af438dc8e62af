//! Processor time that processes have used.

use std::time::Duration;

use anyhow::Context as _;
use nix::{
    sys::resource::{UsageWho, getrusage},
    unistd::{Pid, SysconfVar, sysconf},
};

/// Whose.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    /// This process's, all threads.
    Own,
    /// That of its children that have ended.
    Children,
    /// Another process's.
    Process(Pid),
}

/// What parts have used since its start.
pub(crate) struct Meter(Vec<(String, Part, Duration)>);

impl Meter {
    pub(crate) fn start(parts: impl IntoIterator<Item = (String, Part)>) -> anyhow::Result<Self> {
        let parts = parts.into_iter().map(|(name, part)| Ok((name, part, part.used()?)));
        Ok(Self(parts.collect::<anyhow::Result<_>>()?))
    }

    /// By name.
    pub(crate) fn used(&self) -> anyhow::Result<Vec<(&str, Duration)>> {
        let used = self
            .0
            .iter()
            .map(|(name, part, before)| Ok((name.as_str(), part.used()?.saturating_sub(*before))));
        used.collect()
    }

    /// One part's, in microseconds for each of so many operations.
    pub(crate) fn micros(&self, part: &str, count: u64) -> anyhow::Result<f64> {
        Ok(self.used_by(part)?.as_micros() as f64 / count.max(1) as f64)
    }

    /// One part's.
    pub(crate) fn used_by(&self, part: &str) -> anyhow::Result<Duration> {
        let used = self.used()?.into_iter().find(|(name, _)| *name == part);
        Ok(used.with_context(|| format!("{part} is not measured"))?.1)
    }

    /// In words, for each of so many operations.
    pub(crate) fn per(&self, operation: &str, count: u64) -> anyhow::Result<String> {
        let used = self.used()?;
        let parts = used
            .iter()
            .map(|(name, used)| format!("{:.0} µs {name}", used.as_micros() as f64 / count.max(1) as f64));
        Ok(format!("a {operation}: {}", parts.collect::<Vec<_>>().join(", ")))
    }

    /// In words, in parts of a core over so long.
    pub(crate) fn share_of(&self, elapsed: Duration) -> anyhow::Result<String> {
        let used = self.used()?;
        let parts = used.iter().map(|(name, used)| {
            format!("{:.2} % {name}", 100.0 * used.as_secs_f64() / elapsed.as_secs_f64())
        });
        Ok(format!("of a core: {}", parts.collect::<Vec<_>>().join(", ")))
    }
}

impl Part {
    fn used(self) -> anyhow::Result<Duration> {
        match self {
            Self::Own => rusage(UsageWho::RUSAGE_SELF),
            Self::Children => rusage(UsageWho::RUSAGE_CHILDREN),
            Self::Process(pid) => of(pid),
        }
    }
}

fn rusage(who: UsageWho) -> anyhow::Result<Duration> {
    let usage = getrusage(who)?;
    let time = |value: nix::sys::time::TimeVal| {
        Duration::from_secs(u64::try_from(value.tv_sec()).unwrap_or_default())
            + Duration::from_micros(u64::try_from(value.tv_usec()).unwrap_or_default())
    };
    Ok(time(usage.user_time()) + time(usage.system_time()))
}

/// User and system time of another process, in the kernel's ticks of usually 10 ms.
fn of(pid: Pid) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(") ").context("read a process's times")?.1;
    let ticks: u64 = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    let second = sysconf(SysconfVar::CLK_TCK)?.and_then(|ticks| u64::try_from(ticks).ok()).unwrap_or(100);
    Ok(Duration::from_millis(ticks * 1000 / second))
}
