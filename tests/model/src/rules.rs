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
    // Once: a fence went back, and ticks that an edit had passed over ran after all; a claim was held as it had
    // been sent, and its end wrote the earlier fence.
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
    // Once: a skipped tick had no record; the answer was lost, and the repeated transaction found the fence
    // moved.
    LostSkipIsRecorded,
    /// Who takes a lock over puts every skipped tick on record, not the newest alone.
    // Once: of several ticks skipped at once, only one was on record after a take-over; the lock counted them
    // without naming them.
    AllSkipsAreTakenOver,
    /// Who takes a lock over puts the missed ticks that it names on record.
    MissedIsTakenOver,
    /// Missed ticks that get no run are on record before the fence passes them.
    // Once: missed ticks without a run had no record; a crash or a lost answer after the fence had passed them
    // was enough.
    MissedBeforeTheFence,
    /// A lost run of a deleted job has a caretaker.
    // Once: a lost run of a deleted job had no record and its lock stayed; the caretaker passed over jobs it did
    // not know.
    DeletedJobHasACaretaker,
    /// A catch-up compares the job's definition.
    // Once: a catch-up compared the lock alone and ran a definition that no longer stood.
    CatchUpComparesTheJob,
    /// A record under `runs/` of this session that this process does not execute is removed.
    // Once: a run beside the lock stood as running as long as its worker's session; its claim was done after it
    // had been given up, and no caretaker looked at its own session.
    PhantomBeside,
    /// The end of a run beside the lock compares its record, so that its retry is queued once.
    // Once: with overlap `allow` a retry was queued twice, because the end of the run compared nothing.
    EndBesideOnce,
    /// A held lock names the ticks that it skipped last, and does not only count them back from a fence that a save
    /// may have moved.
    // Once: a save in between moved the skipped ticks, which were counted back from the fence.
    SkipsAreNamed,
    /// A manager that moves a fence over ticks which nobody has decided, or deletes it, names them in the same
    /// transaction.
    // Once: an edit, a pause or a delete moved the fence over ticks that no worker had decided yet, and they had
    // no record.
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
