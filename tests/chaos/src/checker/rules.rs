//! What a scenario allows, and when it broke what.

use std::collections::BTreeSet;

use super::Kind;

/// What a scenario allows.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What may happen; everything else is a violation.
    pub tolerated: BTreeSet<Kind>,
    /// What may happen to ticks in the time of a fault.
    pub excused: BTreeSet<Kind>,
    /// What was broken, and when.
    pub faults: Vec<Fault>,
    /// How punctual runs have to be, if that is checked.
    pub punctuality: Option<Punctuality>,
    /// Missed ticks of jobs that lost a run are tolerated.
    pub lost_jobs_may_miss: bool,
    /// How far workers' clocks are ahead: so much earlier a run may start.
    pub ahead_ms: i64,
    /// A lock is freed so long after its run ended, at most: ticks until then are skipped with reason.
    pub release_ms: i64,
}

/// Something that was broken, and mended again. Times are in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What it was, for people.
    pub name: String,
    /// Just before it was done.
    pub from_ms: i64,
    /// When everything was mended.
    pub to_ms: i64,
    /// Some worker's clock was so far ahead.
    pub ahead_ms: i64,
    /// What may happen beside what every fault excuses, until it was mended and no longer.
    pub excuses: BTreeSet<Kind>,
}

impl Fault {
    /// One that excuses what every fault does.
    pub fn new(name: impl Into<String>, from_ms: i64, to_ms: i64) -> Self {
        Self { name: name.into(), from_ms, to_ms, ahead_ms: 0, excuses: BTreeSet::new() }
    }
}

/// How punctual runs have to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Punctuality {
    /// So late at most where nothing is broken: the hedge of the third choice, and what the machine takes.
    pub late_ms: i64,
    /// So late at most after a fault was mended, or after the tick if that is later: two leases, and what the
    /// machine takes. For so long after the mending nothing has to be as without a fault.
    pub recovery_ms: i64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            tolerated: BTreeSet::from([Kind::Skipped, Kind::SkippedHeld]),
            excused: BTreeSet::new(),
            faults: Vec::new(),
            punctuality: None,
            lost_jobs_may_miss: false,
            ahead_ms: 0,
            release_ms: 5_000,
        }
    }
}

impl Rules {
    /// The last fault in whose time this instant lies, its recovery included.
    pub(super) fn fault_at(&self, at_ms: i64) -> Option<&Fault> {
        self.fault_in(at_ms, at_ms)
    }

    /// The same for a time.
    pub(super) fn fault_in(&self, from_ms: i64, to_ms: i64) -> Option<&Fault> {
        let recovery = self.punctuality.map_or(0, |punctuality| punctuality.recovery_ms);
        let meets = |fault: &&Fault| fault.from_ms <= to_ms && from_ms <= fault.to_ms + recovery;
        self.faults.iter().filter(meets).max_by_key(|fault| fault.to_ms)
    }

    /// True when what was found in this time is due to a fault.
    pub(super) fn excuse(&self, kind: Kind, from_ms: i64, to_ms: i64) -> bool {
        let own =
            |fault: &Fault| fault.excuses.contains(&kind) && fault.from_ms <= to_ms && from_ms <= fault.to_ms;
        let all = self.excused.contains(&kind) && self.fault_in(from_ms, to_ms).is_some();
        all || self.faults.iter().any(own)
    }

    /// How far a worker's clock may have been ahead at this instant.
    pub(super) fn ahead_at(&self, at_ms: i64) -> i64 {
        let recovery = self.punctuality.map_or(0, |punctuality| punctuality.recovery_ms);
        let meets = |fault: &&Fault| (fault.from_ms..=fault.to_ms + recovery).contains(&at_ms);
        self.faults.iter().filter(meets).map(|fault| fault.ahead_ms).fold(self.ahead_ms, i64::max)
    }

    /// How late the run of a tick may start.
    pub(super) fn latest(&self, punctuality: Punctuality, tick_ms: i64) -> i64 {
        match self.fault_at(tick_ms) {
            Some(fault) => tick_ms.max(fault.to_ms) + punctuality.recovery_ms,
            None => tick_ms + punctuality.late_ms,
        }
    }
}
