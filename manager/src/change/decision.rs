//! What a change of a job does to its lock, and to the ticks that nobody had decided. Pure: managers call it, and so
//! does the model of the claim protocol.
//!
//! Saving creates the job's lock, at the instant of saving, and a changed trigger, a pause or a resume moves its
//! fence to now. That buries ticks that nobody had decided by then, so the same transaction names them. No change but
//! the reset of a fence moves it back, unless it was put there by a clock that was ahead and nobody has decided a
//! tick since.

use common::{
    job::StoredJob,
    lock::{FreeLock, HeldLock, Lock, LockError, Stretch},
    queue::Passed,
    store::{Entry, Revision},
    tick::Fence,
};

/// What stands under `locks/<job>`, as far as this release understands it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StandingLock {
    /// Nothing.
    Absent,
    /// Nobody executes the job.
    Free(FreeLock),
    /// A worker does; found at this revision.
    Held(HeldLock, Revision),
    /// It says that it is held, in a form that this release does not understand.
    Opaque,
    /// It is not a lock: it keeps the job from running, and holds no fence that could be lost.
    Rubbish(LockError),
}

impl StandingLock {
    /// Reads a stored lock.
    pub fn of(entry: Option<&Entry>) -> Self {
        let Some(entry) = entry else { return Self::Absent };
        match Lock::decode(&entry.value) {
            Ok(Lock::Free(free)) => Self::Free(free),
            Ok(Lock::Held(held)) => Self::Held(held, entry.mod_revision),
            Err(_) if entry.value.starts_with(b"~") => Self::Opaque,
            Err(error) => Self::Rubbish(error),
        }
    }

    /// The last decided tick, where it is known.
    pub const fn fence(&self) -> Option<Fence> {
        match self {
            Self::Free(free) => Some(free.fence),
            Self::Held(held, _) => Some(held.fence),
            Self::Absent | Self::Opaque | Self::Rubbish(_) => None,
        }
    }
}

/// What becomes of a job's lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockAfter {
    /// It is left alone.
    Stays,
    /// It is written.
    Becomes(Box<Lock>),
    /// It is removed.
    Goes,
}

/// From when the ticks of a saved job count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// As before; from now if there is no lock.
    AsBefore,
    /// From now.
    FromNow,
}

/// The lock says that it is held, in a form that is not understood: nobody writes over that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpaqueLock;

impl LockAfter {
    fn becomes(lock: Lock) -> Self {
        Self::Becomes(Box::new(lock))
    }
}

/// What a save, a pause or a resume at `now` makes of the lock. Its fence goes back only from `back`, where a clock that
/// was ahead had put it, and where no run has ended since.
pub fn lock_after(
    lock: &StandingLock,
    now: Fence,
    counts: Counts,
    back: Option<Fence>,
) -> Result<LockAfter, OpaqueLock> {
    Ok(match lock {
        StandingLock::Absent | StandingLock::Rubbish(_) => LockAfter::becomes(Lock::new(now)),
        StandingLock::Opaque => return Err(OpaqueLock),
        StandingLock::Free(FreeLock { fence, last: None }) if back == Some(*fence) && now < *fence => {
            LockAfter::becomes(Lock::new(now))
        }
        _ if counts == Counts::AsBefore => LockAfter::Stays,
        StandingLock::Free(free) => {
            LockAfter::becomes(Lock::Free(FreeLock { fence: free.fence.max(now), ..free.clone() }))
        }
        StandingLock::Held(held, seen) => LockAfter::becomes(moved(held, *seen, now)),
    })
}

/// What a delete at `now` makes of the lock. A free one goes with its job. A held one is its holder's to remove; its fence
/// moves, so that the holder skips no tick that is named as passed.
pub fn lock_after_delete(lock: &StandingLock, now: Fence) -> LockAfter {
    match lock {
        StandingLock::Absent | StandingLock::Opaque => LockAfter::Stays,
        StandingLock::Held(held, seen) => LockAfter::becomes(moved(held, *seen, now)),
        StandingLock::Free(_) | StandingLock::Rubbish(_) => LockAfter::Goes,
    }
}

fn moved(held: &HeldLock, seen: Revision, now: Fence) -> Lock {
    Lock::Held(held.clone().at_fence(held.fence.max(now), seen))
}

/// Names the ticks of the earlier definition that nobody has decided and that a fence at `now` buries; for the
/// transaction that moves the fence, under the compare of the lock.
pub fn passed(before: &StoredJob, lock: &StandingLock, now: Fence, reason: &str) -> Option<Passed> {
    if before.paused {
        return None;
    }
    let ticks = Stretch::of(&before.job.schedule().ok()??, lock.fence()?, now)?;
    Some(Passed { job: before.job.name.clone(), ticks, reason: reason.to_owned() })
}

#[cfg(test)]
mod tests {
    use common::job::{Command, Exec, Job, Trigger};

    use super::*;

    fn fence(text: &str) -> Fence {
        text.parse().unwrap()
    }

    fn held(at: &str) -> HeldLock {
        let text = format!(
            r#"{{"job":"a","fence":"{at}","run":"01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b","attempt":1,"cause":"manual",
                "worker":"w1","session":7,"claimed":"{at}"}}"#
        );
        HeldLock::decode(text.as_bytes()).unwrap()
    }

    const BEFORE: &str = "2026-11-22T01:00:00Z";
    const NOW: &str = "2026-11-22T02:00:00Z";
    const AHEAD: &str = "2026-11-22T03:00:00Z";

    #[test]
    fn a_fence_moves_to_now_and_never_back_and_a_held_lock_stays_its_holders() {
        let (now, seen) = (fence(NOW), Revision::new(9));
        let free = |at: &str| StandingLock::Free(FreeLock { fence: fence(at), last: None });
        let becomes = |at: &str| Ok(LockAfter::becomes(Lock::new(fence(at))));
        let moved = |at: &str| LockAfter::becomes(Lock::Held(held(BEFORE).at_fence(fence(at), seen)));
        let rubbish = StandingLock::Rubbish(Lock::decode(b"x").unwrap_err());
        for (lock, counts, back, expected) in [
            (StandingLock::Absent, Counts::AsBefore, None, becomes(NOW)),
            (rubbish, Counts::AsBefore, None, becomes(NOW)),
            (StandingLock::Opaque, Counts::AsBefore, None, Err(OpaqueLock)),
            (free(BEFORE), Counts::AsBefore, None, Ok(LockAfter::Stays)),
            (free(BEFORE), Counts::FromNow, None, becomes(NOW)),
            (free(AHEAD), Counts::FromNow, None, becomes(AHEAD)),
            (free(AHEAD), Counts::AsBefore, Some(fence(AHEAD)), becomes(NOW)),
            (free(AHEAD), Counts::AsBefore, Some(fence(BEFORE)), Ok(LockAfter::Stays)),
            (StandingLock::Held(held(BEFORE), seen), Counts::AsBefore, None, Ok(LockAfter::Stays)),
            (StandingLock::Held(held(BEFORE), seen), Counts::FromNow, None, Ok(moved(NOW))),
        ] {
            assert_eq!(lock_after(&lock, now, counts, back), expected, "{lock:?} {counts:?} {back:?}");
        }
    }

    #[test]
    fn a_delete_takes_a_free_lock_along_and_leaves_a_held_one_to_its_holder() {
        let (now, seen) = (fence(NOW), Revision::new(9));
        let free = StandingLock::Free(FreeLock { fence: fence(BEFORE), last: None });
        assert_eq!(lock_after_delete(&free, now), LockAfter::Goes);
        assert_eq!(lock_after_delete(&StandingLock::Opaque, now), LockAfter::Stays);
        for (at, expected) in [(BEFORE, NOW), (AHEAD, AHEAD)] {
            let after = lock_after_delete(&StandingLock::Held(held(at), seen), now);
            assert_eq!(after, LockAfter::becomes(Lock::Held(held(at).at_fence(fence(expected), seen))));
        }
    }

    #[test]
    fn ticks_are_passed_over_from_behind_the_fence_up_to_now() {
        let trigger =
            Trigger::Cron { expressions: vec!["*/30 * * * *".to_owned()], zone: None, anchor: None };
        let mut job = Job::new("a".parse().unwrap(), trigger, Command::Exec(Exec::default()));
        let (before, now) = (fence(BEFORE), fence(NOW));
        job.settle(chrono_tz::Tz::UTC, before.instant(), None);
        let mut stored = StoredJob::new(job, before.instant());
        let at = |fence| StandingLock::Free(FreeLock { fence, last: None });
        let ticks = passed(&stored, &at(before), now, "why").unwrap().ticks;
        assert_eq!(
            (ticks.from.to_string().as_str(), ticks.to, ticks.count),
            ("2026-11-22T01:30:00Z", now, 2)
        );
        assert_eq!(passed(&stored, &at(now), now, "why"), None);
        assert_eq!(passed(&stored, &StandingLock::Absent, now, "why"), None);
        stored.paused = true;
        assert_eq!(passed(&stored, &at(before), now, "why"), None);
    }
}
