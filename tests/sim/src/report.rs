//! What was seen, and a hash of everything that happened in its order.

use std::{collections::BTreeMap, fmt};

/// What the ledger can find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// A tick ran more than once, or has several runs on record.
    Doubled,
    /// A tick has neither run nor outcome.
    Gap,
    /// A tick has an outcome beside its run.
    Contradiction,
    /// Two runs of a job executed at the same time.
    Overlap,
    /// A run started before its tick, by its worker's clock.
    Early,
    /// A run started with a fencing token that is not newer than the one before.
    StaleFence,
    /// A run's tick is not on its job's schedule.
    Stray,
    /// A run's tick is one of a time in which its job was paused or gone, or had another trigger.
    RanOff,
    /// A manager refused what is right.
    Refused,
    /// A run that started is not in the run log.
    WithoutRecord,
    /// The run log says otherwise than it was.
    Untrue,
    /// A tick was skipped, and its job did not run.
    SkippedIdle,
    /// A stretch of ticks says another count than there are.
    Miscounted,
    /// A run started late while nothing was broken.
    Late,
    /// A tick was missed.
    Missed,
    /// A run was lost with its worker.
    Lost,
    /// A run was told to end.
    Unsuccessful,
}

/// Of each kind so many findings are kept.
const KEPT: usize = 5;

/// What was seen.
#[derive(Clone, Debug)]
pub struct Report {
    /// Ticks that had to be accounted for.
    pub expected: u64,
    /// Runs that started, those of ticks beyond the accounted time included.
    pub starts: u64,
    /// Ticks that ran to their end.
    pub succeeded: u64,
    /// Ticks that found their job running.
    pub skipped: u64,
    /// Runs that came to their end, and whose worker died before it could say so.
    pub ended_unknown: u64,
    /// Ticks that were accounted for, and need not have been: a request was under way.
    pub either: u64,
    /// Ticks that an edit passed over, and put on record.
    pub passed: u64,
    /// Second runs of a tick of a job that was made again before the tick, by its manager's clock.
    pub made_again: u64,
    /// Runs of edited jobs that were killed or withdrawn.
    pub killed: u64,
    /// Edits.
    pub edits: u64,
    /// Runs that people asked for, and were told that they will be.
    pub promised: u64,
    /// Times that something was broken.
    pub faults: u64,
    /// What may not be, with examples.
    found: BTreeMap<Finding, (u64, Vec<String>)>,
    /// What may be in the time of a fault.
    excused: BTreeMap<Finding, u64>,
    lateness: Lateness,
    hash: u64,
    events: u64,
    keep: usize,
    trace: Vec<String>,
}

/// Starts by how many milliseconds they were late, where nothing was broken.
#[derive(Clone, Debug, Default)]
struct Lateness(BTreeMap<i64, u64>);

impl Report {
    pub(crate) fn new(keep: usize) -> Self {
        Self {
            expected: 0,
            starts: 0,
            succeeded: 0,
            skipped: 0,
            ended_unknown: 0,
            either: 0,
            passed: 0,
            made_again: 0,
            killed: 0,
            edits: 0,
            promised: 0,
            faults: 0,
            found: BTreeMap::new(),
            excused: BTreeMap::new(),
            lateness: Lateness::default(),
            hash: 0xcbf2_9ce4_8422_2325,
            events: 0,
            keep,
            trace: Vec::new(),
        }
    }

    /// How many violations of a kind there are.
    pub fn count(&self, finding: Finding) -> u64 {
        self.found.get(&finding).map_or(0, |(count, _)| *count)
    }

    /// How many of a kind have a fault as an excuse.
    pub fn count_excused(&self, finding: Finding) -> u64 {
        self.excused.get(&finding).copied().unwrap_or_default()
    }

    /// True when nothing was wrong.
    pub fn is_clean(&self) -> bool {
        self.found.is_empty()
    }

    /// A hash of everything that happened, in its order, with its virtual times.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The first lines of what happened, as many as were to be kept.
    pub fn trace(&self) -> &[String] {
        &self.trace
    }

    pub(crate) fn add(&mut self, finding: Finding, what: String) {
        let (count, examples) = self.found.entry(finding).or_default();
        *count += 1;
        if examples.len() < KEPT {
            examples.push(what);
        }
    }

    pub(crate) fn excuse(&mut self, finding: Finding) {
        *self.excused.entry(finding).or_default() += 1;
    }

    pub(crate) fn late(&mut self, ms: i64) {
        *self.lateness.0.entry(ms).or_default() += 1;
    }

    pub(crate) fn traced(&mut self, now: i64, what: &str, of: &str, numbers: &[u64]) {
        self.events += 1;
        self.mix(now.unsigned_abs());
        for byte in what.bytes().chain(of.bytes()) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        for number in numbers {
            self.mix(*number);
        }
        if self.trace.len() < self.keep {
            self.trace.push(format!("{now} {what} {of} {numbers:x?}"));
        }
    }

    fn mix(&mut self, number: u64) {
        // The finalizer of SplitMix64 spreads what is alike.
        let mut x = self.hash ^ number;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.hash = x ^ (x >> 31);
    }
}

impl Lateness {
    fn permille(&self, n: u64) -> i64 {
        let total: u64 = self.0.values().sum();
        let mut left = total * n / 1000;
        for (ms, count) in &self.0 {
            if left < *count {
                return *ms;
            }
            left -= count;
        }
        self.0.last_key_value().map_or(0, |(ms, _)| *ms)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in [
            ("expected ticks", self.expected),
            ("ran to their end", self.succeeded),
            ("skipped, job ran", self.skipped),
            ("starts in all", self.starts),
            ("faults", self.faults),
        ] {
            writeln!(f, "  {name:<24}{count:>12}")?;
        }
        for (name, count) in [
            ("edits", self.edits),
            ("in the time of an edit", self.either),
            ("passed by an edit", self.passed),
            ("of a job made again", self.made_again),
            ("killed or withdrawn", self.killed),
            ("wanted runs", self.promised),
        ] {
            if count > 0 {
                writeln!(f, "  {name:<24}{count:>12}")?;
            }
        }
        for (finding, count) in &self.excused {
            writeln!(f, "  {:<24}{count:>12}  in the time of a fault", finding.name())?;
        }
        if self.ended_unknown > 0 {
            writeln!(f, "  {:<24}{:>12}", "ended, not told", self.ended_unknown)?;
        }
        let [p50, p99, max] = [500, 990, 1000].map(|n| self.lateness.permille(n));
        writeln!(f, "  late, ms, nothing broken: p50 {p50}, p99 {p99}, max {max}")?;
        for (finding, (count, examples)) in &self.found {
            writeln!(f, "  {:<24}{count:>12}  VIOLATION", finding.name())?;
            for example in examples {
                writeln!(f, "      {example}")?;
            }
        }
        write!(f, "  {} events, trace {:016x}", self.events, self.hash)
    }
}

impl Finding {
    /// In a report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Doubled => "doubled",
            Self::Gap => "without an outcome",
            Self::Contradiction => "contradictions",
            Self::Overlap => "overlaps",
            Self::Early => "early",
            Self::StaleFence => "stale fences",
            Self::Stray => "strays",
            Self::RanOff => "ran while off",
            Self::Refused => "wrongly refused",
            Self::WithoutRecord => "ran, not in the log",
            Self::Untrue => "untrue records",
            Self::SkippedIdle => "skipped, job idle",
            Self::Miscounted => "miscounted stretches",
            Self::Late => "too late",
            Self::Missed => "missed",
            Self::Lost => "lost",
            Self::Unsuccessful => "ended early",
        }
    }
}
