//! What is broken when, and for how long: all of it from a seed.

use std::{fmt, time::Duration};

use clap::ValueEnum;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

/// What can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Nemesis {
    /// A machine dies, and comes back.
    Crash,
    /// A process is told to end, and is started again.
    Restart,
    /// A process is cut off from the store.
    CutOff,
    /// A process is cut off from the store and from the run log.
    Isolated,
    /// Half of all are cut off from the store.
    HalfCutOff,
    /// What a process sends and is sent is held up, and arrives late.
    HeldUp,
    /// Nobody reaches the store.
    StoreAway,
    /// Requests and answers get lost, and take longer.
    Flaky,
    /// The history is compacted under all watches.
    Compaction,
    /// Nobody reaches the run log.
    RunLogAway,
    /// A machine's clock steps.
    ClockStep,
    /// A worker's disk is slow; managers have none.
    SlowDisk,
}

/// One thing that is broken and mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What.
    pub nemesis: Nemesis,
    /// Since the beginning.
    pub at: Duration,
    /// It is mended so long after.
    pub lasts: Duration,
    /// Whose, for what meets one machine; of several the first. The workers come before the managers.
    pub machine: usize,
    /// How far a clock steps, in milliseconds.
    pub step_ms: i64,
}

/// What everybody gets after a fault, before the next one and before anything is held against them: two leases, and
/// what it takes to begin a session.
pub const RECOVERY: Duration = Duration::from_secs(40);

/// Before the first fault.
const QUIET: Duration = Duration::from_secs(90);

/// All steps of a time.
pub fn plan(seed: u64, time: Duration, machines: usize, of: &[Nemesis]) -> Vec<Step> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut steps = Vec::new();
    let mut at = QUIET;
    loop {
        let Some(nemesis) = of.choose(&mut rng).copied() else { return steps };
        let lasts = nemesis.lasts(&mut rng);
        if at + lasts + RECOVERY > time {
            return steps;
        }
        let machine = rng.random_range(0..machines.max(1));
        let step_ms = rng.random_range(-2_000..=2_000);
        steps.push(Step { nemesis, at, lasts, machine, step_ms });
        at += lasts + RECOVERY + Duration::from_millis(rng.random_range(5_000..120_000));
    }
}

impl Nemesis {
    fn lasts(self, rng: &mut StdRng) -> Duration {
        let seconds: std::ops::Range<f64> = match self {
            Self::Compaction => 0.1..0.2,
            Self::ClockStep => 5.0..120.0,
            Self::Crash | Self::Restart => 0.5..90.0,
            Self::StoreAway => 0.5..40.0,
            Self::RunLogAway | Self::SlowDisk => 5.0..240.0,
            Self::CutOff | Self::Isolated | Self::HalfCutOff | Self::HeldUp | Self::Flaky => 0.5..60.0,
        };
        // As many short ones as long ones.
        Duration::from_secs_f64(seconds.start * (seconds.end / seconds.start).powf(rng.random::<f64>()))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nemesis, at, lasts, machine, step_ms } = self;
        write!(
            f,
            "{:>10.3} s {nemesis:?} of machine {machine} for {:.3} s",
            at.as_secs_f64(),
            lasts.as_secs_f64()
        )?;
        if *nemesis == Nemesis::ClockStep { write!(f, ", by {step_ms} ms") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_plan_of_everything_that_leaves_time_to_recover() {
        let time = Duration::from_secs(12 * 3600);
        let all = Nemesis::value_variants();
        let steps = plan(7, time, 10, all);
        assert_eq!(steps, plan(7, time, 10, all));
        assert_ne!(steps, plan(8, time, 10, all));
        assert!(all.iter().all(|nemesis| steps.iter().any(|step| step.nemesis == *nemesis)));
        assert!(steps.windows(2).all(|pair| pair[0].at + pair[0].lasts + RECOVERY < pair[1].at));
    }
}
