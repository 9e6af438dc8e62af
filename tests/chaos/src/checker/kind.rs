//! What the checker can find.

/// What the checker can find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A tick ran more than once.
    Doubled,
    /// A tick has neither run nor outcome.
    Gap,
    /// A tick has an outcome beside its run.
    Contradiction,
    /// Two runs of a job executed at the same time.
    Overlap,
    /// A run started before its tick.
    Early,
    /// A run started whose fencing token is not newer than that of the run before it.
    StaleFence,
    /// A run's tick is not on its job's schedule.
    Stray,
    /// A run really started and the run log does not know it.
    LineWithoutRecord,
    /// The run log says that a command was started, or brought to its end, and it was not.
    RecordWithoutLine,
    /// A run's record says another worker, tick or fencing token than the run itself.
    Differs,
    /// Ticks got no run, and the run log does not say why.
    NoReason,
    /// A tick was skipped because its job ran.
    Skipped,
    /// A tick was skipped because its job's lock was held a while longer than its run: the record was being kept.
    SkippedHeld,
    /// A tick was skipped and its job did not run.
    SkippedIdle,
    /// A tick was missed, says the scheduler.
    Missed,
    /// A run was lost, says the scheduler.
    Lost,
    /// A run failed, timed out or was killed.
    Unsuccessful,
    /// A run started later than it may.
    Late,
    /// A run of a job that was paused or gone.
    WhileOff,
    /// A job whose runs are made again has one that has not come to its end.
    Unfinished,
    /// A stretch of ticks without runs says another count than there are.
    Miscounted,
    /// A window in which a run had to begin has none that was brought to its end.
    UnmetWindow,
    /// What the scheduler had said before was replaced by something older.
    WentBack,
    /// After a fault was mended, runs were not punctual again in time.
    NotRecovered,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::Doubled,
        Self::Gap,
        Self::Contradiction,
        Self::Overlap,
        Self::Early,
        Self::StaleFence,
        Self::Stray,
        Self::LineWithoutRecord,
        Self::RecordWithoutLine,
        Self::Differs,
        Self::NoReason,
        Self::Skipped,
        Self::SkippedHeld,
        Self::SkippedIdle,
        Self::Missed,
        Self::Lost,
        Self::Unsuccessful,
        Self::Late,
        Self::WhileOff,
        Self::Unfinished,
        Self::Miscounted,
        Self::UnmetWindow,
        Self::WentBack,
        Self::NotRecovered,
    ];

    /// In a report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Doubled => "doubled",
            Self::Gap => "gaps",
            Self::Contradiction => "contradictions",
            Self::Overlap => "overlaps",
            Self::Early => "early",
            Self::StaleFence => "stale fences",
            Self::Stray => "strays",
            Self::LineWithoutRecord => "ran, not in the log",
            Self::RecordWithoutLine => "in the log, not run",
            Self::Differs => "record differs",
            Self::NoReason => "without a reason",
            Self::Skipped => "skipped, job ran",
            // Once: ticks were skipped as if a run still executed that had ended, while its record was on its
            // way to a slow disk.
            Self::SkippedHeld => "skipped, lock held",
            // Once: ticks that nobody could claim were on record as skipped, because a retry had taken the lock
            // over before them.
            Self::SkippedIdle => "skipped, job idle",
            Self::Missed => "missed",
            Self::Lost => "lost",
            Self::Unsuccessful => "unsuccessful",
            Self::Late => "too late",
            Self::WhileOff => "ran while off",
            Self::Unfinished => "unfinished",
            Self::Miscounted => "miscounted stretches",
            Self::UnmetWindow => "unmet windows",
            Self::WentBack => "records that went back",
            Self::NotRecovered => "not recovered in time",
        }
    }
}
