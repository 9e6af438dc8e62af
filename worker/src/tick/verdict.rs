//! What becomes of a tick, judged by what is known of it. Pure: the worker asks here, and so does the model of the
//! protocol (`tests/model`).

use chrono::{DateTime, Duration, Utc};
use common::{
    job::Overlap,
    lock::{HeldLock, Why},
    tick::Tick,
};

use crate::{
    claim::{OwnLock, StoredFreeLock},
    plan::{Due, Next, Planned},
    tick::misfire::{self, CatchUp, Undecided},
};

/// No tick is passed on this long before its instant.
const FAR_AHEAD: Duration = Duration::seconds(1);

/// What is known of a tick.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// The tick, and its job as it stood when its instant came.
    pub due: &'a Due,
    /// The job as it stands; none: it is gone.
    pub planned: Option<&'a Planned>,
    /// The time.
    pub now: DateTime<Utc>,
    /// Claims are sent this long before their tick.
    pub lead: Duration,
    /// The job's lock, as far as it is known.
    pub lock: Sight<'a>,
}

/// What is known of a job's lock.
#[derive(Clone, Copy, Debug)]
pub enum Sight<'a> {
    /// Nothing: the claim itself finds out.
    Unread,
    /// This process holds it.
    Own {
        /// What it says.
        lock: &'a OwnLock,
        /// Since when its run may stand in the way of ticks.
        since: DateTime<Utc>,
        /// True if nothing of its run executes any more, and its record is on its way to the disk.
        ended: bool,
    },
    /// There is none.
    Absent,
    /// It is free.
    Free(&'a StoredFreeLock),
    /// Somebody else holds it, or this session did without knowing.
    Held(&'a HeldLock),
}

/// What becomes of a tick.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Somebody has decided it, or nobody needs to any more.
    Decided,
    /// Look again later: the watch has yet to report a change.
    Later,
    /// Claim it, if everything up to `previous` is decided.
    Claim {
        /// The tick before it.
        previous: Tick,
    },
    /// Decide it together with the ticks before it.
    CatchUp(CatchUp),
    /// Whoever ends this process's run claims the tick along with it. Until the tick's instant that run may end by
    /// itself.
    Follow {
        /// The tick that waits.
        next: Next,
        /// What is done about the run.
        run: Ahead,
    },
    /// It waits in the queue, if none waits there; else it is skipped.
    Wait {
        /// The lock, its fence at this tick.
        to: Box<HeldLock>,
        /// The lock when it is skipped after all.
        skipped: Box<HeldLock>,
    },
    /// It is skipped: the lock, its fence at this tick.
    Skip(Box<HeldLock>),
    /// The job was written by hand: its lock has to be created.
    Create,
    /// The holder may be gone.
    AskForHolder,
}

/// The run of this process that a tick waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ahead {
    /// It has ended; only its record is on its way.
    HasEnded,
    /// It may end by itself until the tick's instant.
    MayEnd,
    /// It is ended for this tick.
    IsEnded,
}

/// What is to become of the tick.
pub fn verdict(look: &Look<'_>) -> Verdict {
    let tick = look.due.tick;
    // The definition as it stands: an edit that leaves the trigger alone does not lose the tick.
    let Some(planned) = look.planned.filter(|planned| !planned.paused) else { return Verdict::Decided };
    if planned.job.trigger != look.due.job.job.trigger {
        return Verdict::Decided;
    }
    // Passed on by a clock that was ahead and has been set back: it comes again.
    if tick.instant() > look.now + look.lead + FAR_AHEAD {
        return Verdict::Decided;
    }
    // A late one is up to the misfire policy: its claim cannot win.
    let late = look.now - tick.instant() > misfire::MISSED_AFTER;
    let previous = if late { tick } else { look.due.previous };
    match look.lock {
        Sight::Unread => Verdict::Claim { previous },
        Sight::Absent => Verdict::Create,
        Sight::Own { lock, since, ended } => meet_own_run(look, planned, lock, since, ended),
        Sight::Free(lock) if lock.free.fence >= tick => Verdict::Decided,
        Sight::Free(lock) if lock.free.fence < previous => {
            Verdict::CatchUp(misfire::catch_up(planned, &lock.free, tick, look.now))
        }
        // In order and free: the definition has changed.
        Sight::Free(_) => Verdict::Later,
        Sight::Held(held) if held.fence >= tick => Verdict::Decided,
        Sight::Held(_) => Verdict::AskForHolder,
    }
}

fn meet_own_run(
    look: &Look<'_>,
    planned: &Planned,
    lock: &OwnLock,
    since: DateTime<Utc>,
    ended: bool,
) -> Verdict {
    let tick = look.due.tick;
    if lock.held.fence >= tick {
        return Verdict::Decided;
    }
    let follow = |run| {
        let next = Next { tick, previous: look.due.previous, definition: planned.revision };
        Verdict::Follow { next, run }
    };
    if ended {
        return follow(Ahead::HasEnded);
    }
    if look.now < tick.instant() {
        return follow(Ahead::MayEnd);
    }
    let until = |until, why| Undecided::by(planned, &lock.held, since, until).because(why);
    let skipped = |why| Box::new(until(tick, why).in_lock(lock, tick));
    match planned.job.overlap {
        Overlap::Replace => follow(Ahead::IsEnded),
        Overlap::Skip | Overlap::Allow => Verdict::Skip(skipped(Why::Usual)),
        Overlap::QueueOne => {
            // Ticks before this one that nobody has decided, as after a take-over, do not wait: one does.
            let to = until(misfire::before(tick), Why::OneWaits).in_lock(lock, tick);
            Verdict::Wait { to: Box::new(to), skipped: skipped(Why::OneWaits) }
        }
    }
}

#[cfg(test)]
mod tests;
