//! The rules of the protocol, each of which can be switched off: then the checker has to find what it prevents.

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// A claim wins only while the fence is before its tick.
    Fence,
    /// A claim wins only when the tick before it is decided.
    InOrder,
    /// A held lock refuses claims.
    HeldRefuses,
    /// What a worker claims or takes over is done only while its session lives in the store.
    Guard,
    /// A lease ends only after its worker stopped trusting it and its runs are dead.
    TrustDeadline,
    /// A worker that returns kills what its earlier life left before it revokes that life's lease.
    KilledBeforeRevoked,
    /// A lock is freed only after its run has ended.
    FreedAfterTheEnd,
    /// A finish writes the lock's fence, not its own run's tick.
    FinishKeepsTheFence,
    /// A claim whose answer was lost is held as the lock is found, not as it was sent.
    HeldAsFound,
    /// A lock is one's own by worker and session, not by the worker's name alone.
    SessionNotName,
    /// Finish and next claim compare the lock's revision.
    MergeComparesTheLock,
    /// Finish and next claim compare the job's definition.
    MergeComparesTheJob,
    /// A manager saves a job at an instant that is not before a tick of it that was decided.
    ManagerClock,
    /// A skip that was done, though its answer was lost, is put on record.
    LostSkipIsRecorded,
    /// Who takes a lock over puts every skipped tick on record, not the newest alone.
    AllSkipsAreTakenOver,
    /// Who takes a lock over puts the missed ticks that it names on record.
    MissedIsTakenOver,
    /// Missed ticks that get no run are on record before the fence passes them.
    MissedBeforeTheFence,
    /// A lost run of a deleted job has a caretaker.
    DeletedJobHasACaretaker,
    /// A catch-up compares the job's definition.
    CatchUpComparesTheJob,
    /// A record under `runs/` of this session that this process does not execute is removed.
    PhantomBeside,
    /// The end of a run beside the lock compares its record, so that its retry is queued once.
    EndBesideOnce,
    /// A held lock names the ticks that it skipped last, and does not only count them back from a fence that a save
    /// may have moved.
    SkipsAreNamed,
    /// A manager that moves a fence over ticks which nobody has decided, or deletes it, names them in the same
    /// transaction.
    PassedIsNamed,
    /// A delete compares a held lock as well, and moves its fence.
    DeleteMovesAHeldFence,
}

/// Rules in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rules(u32);

impl Rule {
    /// All of them.
    pub const EVERY: [Self; 24] = [
        Self::Fence,
        Self::InOrder,
        Self::HeldRefuses,
        Self::Guard,
        Self::TrustDeadline,
        Self::KilledBeforeRevoked,
        Self::FreedAfterTheEnd,
        Self::FinishKeepsTheFence,
        Self::HeldAsFound,
        Self::SessionNotName,
        Self::MergeComparesTheLock,
        Self::MergeComparesTheJob,
        Self::ManagerClock,
        Self::LostSkipIsRecorded,
        Self::AllSkipsAreTakenOver,
        Self::MissedIsTakenOver,
        Self::MissedBeforeTheFence,
        Self::DeletedJobHasACaretaker,
        Self::CatchUpComparesTheJob,
        Self::PhantomBeside,
        Self::EndBesideOnce,
        Self::SkipsAreNamed,
        Self::PassedIsNamed,
        Self::DeleteMovesAHeldFence,
    ];
}

impl Rules {
    /// All of them.
    pub const ALL: Self = Self(u32::MAX);

    /// All of these but one.
    #[must_use]
    pub const fn without(self, rule: Rule) -> Self {
        Self(self.0 & !(1 << rule as u32))
    }

    /// True when the rule is in force.
    pub const fn keep(self, rule: Rule) -> bool {
        self.0 & (1 << rule as u32) != 0
    }
    /// Those that are not in force.
    pub fn missing(self) -> impl Iterator<Item = Rule> {
        Rule::EVERY.into_iter().filter(move |rule| !self.keep(*rule))
    }
}
