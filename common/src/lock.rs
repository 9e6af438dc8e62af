//! A job's lock and fence in one record (`docs/decisions/one-record-per-job.md`).
//!
//! Free: `2026-11-22T01:02:03Z {…}`, the fence first, so that claims compare it as text. Held: `~ {…}`; `~` sorts
//! after every instant, so a held lock refuses every claim by itself.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    epoch::Epoch,
    id::{JobName, RunId, WorkerId},
    queue::QueuedRun,
    revision::{Revision, Token},
    run::{Cause, RunState},
    runlog::TickOutcome,
    tick::{Fence, TICK_TEXT_BYTES, Tick},
};

mod command;
mod stretch;

pub use command::ClaimedCommand;
pub use stretch::{Stretch, Why};

/// What stands under `locks/<job>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Nobody executes the job.
    Free(FreeLock),
    /// A worker does.
    Held(HeldLock),
}

/// A free lock: the fence, and how the last run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreeLock {
    /// The last decided tick.
    pub fence: Fence,
    /// The last run, if there was one.
    pub last: Option<LastRun>,
}

/// How the last run of a job ended, for lists and for `@next` decisions; the whole is in the run log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRun {
    /// The run.
    pub run: RunId,
    /// How it ended.
    pub state: RunState,
    /// When.
    #[serde(with = "crate::instant::millis")]
    pub ended: DateTime<Utc>,
    /// Who ran it.
    pub worker: WorkerId,
    /// When it was claimed, by its worker's clock: from then on it stood in the way of others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed: Option<DateTime<Utc>>,
    /// When its record was on disk, if that was long after its end: until then it stood in the way as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<DateTime<Utc>>,
}

/// A held lock, or the record of a run that holds none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldLock {
    /// The job. In a lock it is the key's too; a record under `runs/` has it only here.
    pub job: JobName,
    /// The last decided tick: the run's own, or a later one that was skipped.
    pub fence: Fence,
    /// The run that executes.
    pub run: RunId,
    /// Which attempt of it, from 1.
    pub attempt: u32,
    /// The tick it runs for; none for a manual run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tick: Option<Tick>,
    /// Why.
    pub cause: Cause,
    /// The holder.
    pub worker: WorkerId,
    /// The revision that created the holder's registration: an earlier life of the same worker is somebody else.
    pub session: Revision,
    /// The store's epoch at the claim.
    #[serde(default, skip_serializing_if = "Epoch::is_first")]
    pub epoch: Epoch,
    /// When it was claimed, by the holder's clock.
    pub claimed: DateTime<Utc>,
    /// Ticks that found the job running, since the claim; the newest is the fence.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped: u32,
    /// The ticks that were skipped last: whoever takes over keeps their record, should the holder not have done so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_skip: Option<Stretch>,
    /// Ticks that this claim leaves behind: nobody could claim them in time, and they are not queued either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<Stretch>,
    /// More of them, where they were missed for several reasons, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_missed: Vec<Stretch>,
    /// The revision of the claim, once this was written again: by a skip, or by a manager that moved the fence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_revision: Option<Revision>,
    /// What executes, for people: the job may be another one by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<ClaimedCommand>,
}

/// Who holds a lock: a worker in one of its lives, in an epoch of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The worker.
    pub worker: WorkerId,
    /// The revision that created its registration.
    pub session: Revision,
    /// The store's epoch.
    pub epoch: Epoch,
}

impl HeldLock {
    /// The lock of a run that is claimed now, its fence at `fence`.
    pub fn new(
        wanted: &QueuedRun,
        fence: Fence,
        holder: Holder,
        claimed: DateTime<Utc>,
        command: ClaimedCommand,
    ) -> Self {
        let Holder { worker, session, epoch } = holder;
        Self {
            job: wanted.job.clone(),
            fence,
            run: wanted.run,
            attempt: wanted.attempt,
            tick: wanted.tick,
            cause: wanted.cause,
            worker,
            session,
            epoch,
            claimed,
            skipped: 0,
            last_skip: None,
            missed: None,
            also_missed: Vec::new(),
            claim_revision: None,
            command: Some(command),
        }
    }

    /// The revision at which the run was claimed, when this was found at `seen`.
    pub fn claimed_at(&self, seen: Revision) -> Revision {
        self.claim_revision.unwrap_or(seen)
    }

    /// This, found at `seen`, with another fence: whose run it is, and since when, stays.
    #[must_use]
    pub fn at_fence(self, fence: Fence, seen: Revision) -> Self {
        Self { fence, claim_revision: Some(self.claimed_at(seen)), ..self }
    }

    /// The command that executes, of a job whose command is `now`.
    pub fn command(&self, now: &str) -> String {
        self.command.as_ref().map_or_else(|| now.to_owned(), |claimed| claimed.shown(now))
    }

    /// The ticks that it names and that got no run, what became of them, and why.
    pub fn without_run(&self) -> impl Iterator<Item = (&Stretch, TickOutcome, &'static str)> {
        let skipped = self.last_skip.iter().map(|ticks| (ticks, TickOutcome::Skipped));
        let missed = self.also_missed.iter().chain(&self.missed).map(|ticks| (ticks, TickOutcome::Missed));
        skipped.chain(missed).map(|(ticks, outcome)| (ticks, outcome, ticks.why.text(outcome)))
    }

    /// True when nothing executes: the lock is held only until the missed ticks are on record.
    pub fn is_without_run(&self) -> bool {
        self.cause == Cause::CatchUp && self.tick.is_none()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// A value that is not a lock.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lock's value does not decode: {0}")]
pub struct LockError(String);

impl Lock {
    /// A lock that nobody ever held.
    pub const fn new(fence: Fence) -> Self {
        Self::Free(FreeLock { fence, last: None })
    }

    /// The last decided tick.
    pub const fn fence(&self) -> Fence {
        match self {
            Self::Free(free) => free.fence,
            Self::Held(held) => held.fence,
        }
    }

    /// The stored bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Free(free) => {
                let mut bytes = format!("{} ", free.fence).into_bytes();
                let last = free.last.as_ref().map_or_else(|| Ok(b"{}".to_vec()), serde_json::to_vec);
                bytes.extend(last.expect("a last run serializes"));
                bytes
            }
            Self::Held(held) => {
                let mut bytes = b"~ ".to_vec();
                bytes.extend(held.encode());
                bytes
            }
        }
    }

    /// Reads a stored lock.
    pub fn decode(bytes: &[u8]) -> Result<Self, LockError> {
        let bad = |what: &dyn std::fmt::Display| LockError(what.to_string());
        if let Some(rest) = bytes.strip_prefix(b"~ ") {
            return HeldLock::decode(rest).map(Self::Held);
        }
        let text = std::str::from_utf8(bytes).map_err(|error| bad(&error))?;
        let (fence, rest) = text.split_once(' ').ok_or_else(|| bad(&"no space follows the fence"))?;
        let fence = fence.parse().map_err(|error| bad(&error))?;
        let last = match rest {
            "{}" => None,
            json => Some(serde_json::from_str(json).map_err(|error| bad(&error))?),
        };
        Ok(Self::Free(FreeLock { fence, last }))
    }
}

impl HeldLock {
    /// The fencing token of this claim, which was found at `seen`. Grows across the cluster, also when the store is
    /// restored; to be compared with revisions it is not.
    pub fn token(&self, seen: Revision) -> Token {
        self.epoch.token(self.claimed_at(seen))
    }

    /// The stored bytes of a record under `runs/`.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a held lock serializes")
    }

    /// Reads a record under `runs/`.
    pub fn decode(bytes: &[u8]) -> Result<Self, LockError> {
        serde_json::from_slice(bytes).map_err(|error| LockError(error.to_string()))
    }
}

/// The bytes that a claim of `tick` compares with: a free lock's value sorts before them exactly if its fence is
/// earlier, and after them exactly if its fence is this tick or later. A held lock sorts after all of them.
pub fn fence_bytes(tick: Tick) -> Vec<u8> {
    let text = tick.to_string();
    debug_assert_eq!(text.len(), TICK_TEXT_BYTES);
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held() -> HeldLock {
        HeldLock {
            job: "a".parse().unwrap(),
            fence: "2026-11-22T01:02:03Z".parse().unwrap(),
            run: "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b".parse().unwrap(),
            attempt: 1,
            tick: Some("2026-11-22T01:02:03Z".parse().unwrap()),
            cause: Cause::Schedule,
            worker: "w1".parse().unwrap(),
            session: Revision::new(7),
            epoch: Epoch::default(),
            claimed: DateTime::UNIX_EPOCH,
            skipped: 0,
            last_skip: None,
            missed: None,
            also_missed: Vec::new(),
            claim_revision: None,
            command: Some(ClaimedCommand::of(&"backup \"everything\" ".repeat(1000))),
        }
    }

    #[test]
    fn a_claim_that_is_written_anew_is_the_same_claim() {
        let before = held();
        let moved = before.clone().at_fence("2026-11-22T01:02:04Z".parse().unwrap(), Revision::new(9));
        let again = moved.clone().at_fence("2026-11-22T01:02:05Z".parse().unwrap(), Revision::new(12));
        assert_eq!(
            (before.token(Revision::new(9)), moved.token(Revision::new(12)), again.token(Revision::new(15))),
            (Token(9), Token(9), Token(9))
        );
        assert_eq!(again.fence.to_string(), "2026-11-22T01:02:05Z");
        assert_eq!(HeldLock { fence: before.fence, claim_revision: None, ..again }, before);
    }

    #[test]
    fn a_value_of_an_earlier_version_is_read() {
        let text = r#"{"job":"a","fence":"2026-11-22T01:02:03Z","run":"01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b",
            "attempt":1,"cause":"manual","worker":"w1","session":7,"claimed":"2026-11-22T01:02:03Z"}"#;
        let held = HeldLock::decode(text.as_bytes()).unwrap();
        assert_eq!((held.token(Revision::new(9)), held.command("date").as_str()), (Token(9), "date"));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let free = Lock::new("2026-11-22T01:02:03Z".parse().unwrap());
        let last = LastRun {
            run: held().run,
            state: RunState::Succeeded,
            ended: DateTime::UNIX_EPOCH,
            worker: held().worker,
            claimed: Some(DateTime::UNIX_EPOCH),
            recorded: None,
        };
        let ended = Lock::Free(FreeLock { fence: free.fence(), last: Some(last) });
        for lock in [free, ended, Lock::Held(held())] {
            assert_eq!(Lock::decode(&lock.encode()).unwrap(), lock);
            assert!(lock.encode().len() < 1024);
        }
        for bad in [
            &b""[..],
            b"~",
            b"~ {",
            b"2026 {}",
            b"\xff\xff",
            b"2026-11-22T01:02:03Z",
            b"2026-11-22T01:02:03Z x",
        ] {
            assert!(Lock::decode(bad).is_err());
        }
    }

    #[test]
    fn a_claim_compares_as_the_protocol_says() {
        let tick = |text: &str| text.parse::<Tick>().unwrap();
        let (before, at, after) =
            (tick("2026-11-22T01:02:02Z"), tick("2026-11-22T01:02:03Z"), tick("2026-11-22T01:02:04Z"));
        let fence = fence_bytes(at);
        assert!(Lock::new(before).encode() < fence);
        assert!(Lock::new(at).encode() > fence);
        assert!(Lock::new(after).encode() > fence);
        assert!(Lock::Held(held()).encode() > fence_bytes(tick("9999-12-31T23:59:59Z")));
    }
}
