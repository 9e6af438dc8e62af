//! What can be broken, and the plan by which it is: a seed gives the same plan every time.

use std::{fmt, time::Duration};

use clap::ValueEnum;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

/// What is broken, and mended again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum Nemesis {
    /// A worker is killed; its guard ends its runs.
    WorkerKill,
    /// A worker, its guard and its runs are killed at once.
    WorkerMachineKill,
    /// A manager is killed.
    ManagerKill,
    /// A manager is stopped where it is, and goes on.
    ManagerStop,
    /// A member of etcd is killed.
    EtcdMemberKill,
    /// The member that leads is killed.
    EtcdLeaderKill,
    /// A worker is stopped where it is, and goes on.
    WorkerStop,
    /// The leading member is stopped for longer than a lease, and goes on.
    EtcdLeaderStop,
    /// The leading member's links to the others break or fall silent, while workers and managers still reach it.
    EtcdLeaderCutOff,
    /// A worker is stopped in the middle of a run, and killed with its guard after that has ended: what it would have
    /// kept of it is lost.
    KillBeforeSpool,
    /// A worker's machine dies, and another worker is stopped just as it takes over, for longer than its lease.
    // Once: a worker that was stopped between its last look and a start started that run behind its successor.
    CaretakerStop,
    /// A second worker is started on a copy of a worker's data directory.
    // Once: it killed the other worker's runs and revoked its lease, taking the copied life for its own.
    DataDirClone,
    /// There is no room in a worker's data directory.
    DataDirFull,
    /// A worker's links to etcd break or fall silent.
    PartitionWorker,
    /// The same for half of the workers.
    PartitionHalf,
    /// MongoDB is killed.
    MongodbKill,
    /// MongoDB answers late.
    MongodbSlow,
    /// A worker's clock is two seconds wrong.
    ClockSkew,
    /// A worker's clock jumps while it works, and back.
    ClockStep,
    /// etcd says that it has no room, and writes nothing.
    EtcdFull,
    /// etcd forgets its past while a worker does not hear it.
    Compaction,
    /// Jobs are edited, paused, deleted, made again and killed close to their ticks.
    // Once: such a change left ticks without a record (1 play in 4 on a busy machine).
    Edit,
    /// All workers, managers and members of etcd are restarted, one after the other; the workers in good order.
    RollingRestart,
}

impl Nemesis {
    /// As it is typed.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// How long it lasts, from and to, in milliseconds.
    fn lasts_ms(self, ttl_ms: u64) -> (u64, u64) {
        match self {
            Self::WorkerKill | Self::WorkerMachineKill => (ttl_ms / 10, ttl_ms * 3 / 2),
            Self::EtcdMemberKill | Self::EtcdLeaderKill => (2_000, ttl_ms.max(3_000)),
            Self::WorkerStop | Self::ManagerStop => (1_000, (ttl_ms * 4).min(60_000)),
            Self::EtcdLeaderStop | Self::CaretakerStop => (ttl_ms + 1_000, ttl_ms + 4_000),
            Self::KillBeforeSpool => (1_000, ttl_ms),
            Self::EtcdFull => (1_000, ttl_ms + 4_000),
            Self::PartitionWorker | Self::PartitionHalf | Self::EtcdLeaderCutOff => (1_000, ttl_ms * 2),
            Self::ManagerKill | Self::Compaction => (1_000, 5_000),
            Self::MongodbKill
            | Self::MongodbSlow
            | Self::ClockSkew
            | Self::ClockStep
            | Self::DataDirClone
            | Self::DataDirFull
            | Self::Edit => (4_000, 12_000),
            // As long as it takes.
            Self::RollingRestart => (0, 1),
        }
    }
}

/// One thing to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Nothing is done for so long before.
    pub quiet: Duration,
    /// What is done.
    pub nemesis: Nemesis,
    /// For so long.
    pub lasts: Duration,
    /// Who is meant, and how: read by what breaks it, modulo how many there are.
    pub dice: usize,
}

/// What is broken, when, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// One after the other.
    pub steps: Vec<Step>,
    /// Nothing is done for so long at the end.
    pub rest: Duration,
}

impl Plan {
    /// The plan that a seed gives for so much time. All of the nemeses come by turns, each turn in another order; between
    /// two of them nothing is done for `quiet` at most, else for three leases.
    pub fn new(
        seed: u64,
        time: Duration,
        nemeses: &[Nemesis],
        ttl: Duration,
        quiet: Option<Duration>,
    ) -> Self {
        let mut chance = StdRng::seed_from_u64(seed);
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).clamp(1_000, 60_000);
        let (mut steps, mut bag) = (Vec::new(), Vec::new());
        // Recovery takes two leases at most; some of that time is to be seen at the end.
        let last = time.saturating_sub(ttl * 2 + Duration::from_secs(5));
        let mut passed = Duration::ZERO;
        loop {
            if bag.is_empty() {
                bag.extend_from_slice(nemeses);
                bag.shuffle(&mut chance);
            }
            let Some(nemesis) = bag.pop() else { break };
            let (least, most) = nemesis.lasts_ms(ttl_ms);
            let pause = Duration::from_millis(chance.random_range(ttl_ms..=ttl_ms * 3));
            let quiet = quiet.map_or(pause, |most| pause.mul_f64(most.div_duration_f64(ttl * 3)));
            let lasts = Duration::from_millis(chance.random_range(least..=most.max(least)));
            let dice = usize::from(chance.random::<u16>());
            if passed + quiet + lasts > last {
                break;
            }
            passed += quiet + lasts;
            steps.push(Step { quiet, nemesis, lasts, dice });
        }
        Self { steps, rest: time.saturating_sub(passed) }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Step { quiet, nemesis, lasts, dice } in &self.steps {
            let (quiet, lasts) = (quiet.as_secs_f64(), lasts.as_secs_f64());
            writeln!(f, "    {quiet:6.1} s nothing, {lasts:5.1} s {} ({dice})", nemesis.name())?;
        }
        write!(f, "    {:6.1} s nothing", self.rest.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_plan_every_time_and_another_seed_another() {
        let (time, ttl) = (Duration::from_secs(1800), Duration::from_secs(15));
        let plan = |seed| Plan::new(seed, time, Nemesis::value_variants(), ttl, None);
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
        let planned = plan(7);
        let whole: Duration = planned.steps.iter().map(|step| step.quiet + step.lasts).sum();
        assert_eq!(whole + planned.rest, time);
        let all = |nemesis: &Nemesis| planned.steps.iter().any(|step| step.nemesis == *nemesis);
        assert!(Nemesis::value_variants().iter().all(all), "{planned}");
    }
}
