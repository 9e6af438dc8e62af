//! Who and what appears in the model: one job, a few workers, ticks 1, 2, … in a row, and small revisions.

use std::sync::LazyLock;

use chrono::DateTime;
use common::{
    id::{JobName, RunId, WorkerId},
    job::{Command, Exec, Job, StoredJob, Trigger},
    lock::{HeldLock, LastRun, Lock, Stretch, Why},
    queue::{Passed, QueuedRun},
    run::{Cause, RunState},
    span::Span,
    store::{Key, Revision, key::Keys},
    tick::Tick,
};
use uuid::Uuid;
use worker::claim::Session;

use crate::interned::{Interned, Table};

/// The number of a tick, from 1; 0 is the instant at which the job was saved.
pub type N = u8;

/// A revision. They are compared for equality only, so the model gives the smallest one that nothing refers to.
pub type Rev = u8;

/// The revision as the store has it.
pub fn revision(rev: Rev) -> Revision {
    Revision::new(rev.into())
}

/// Revisions of registrations begin here; a session's number is part of its revision.
pub const FIRST_SESSION: Rev = 20;

/// Sessions of one worker, at most.
const SESSIONS: Rev = 8;

const EPOCH: i64 = 1_795_310_520;

/// A record's content, kept once.
pub type HeldRef = Interned<HeldLock>;

/// A key, kept once.
pub type KeyRef = Interned<Key>;

static HELD: Table<HeldLock> = Table::new();
static KEYS: Table<Key> = Table::new();
static LAYOUT: LazyLock<Keys> = LazyLock::new(|| Keys::new("/quorate/").expect("a valid root"));
static JOB: LazyLock<JobName> = LazyLock::new(|| "j".parse().expect("a valid name"));

/// The real key layout.
pub fn keys() -> &'static Keys {
    &LAYOUT
}

/// The job.
pub fn job() -> &'static JobName {
    &JOB
}

/// The key, kept once.
pub fn key(key: &Key) -> KeyRef {
    KEYS.intern(key.as_bytes().to_vec(), |_| key.clone())
}

/// The key of the job's definition.
pub fn job_key() -> KeyRef {
    static KEY: LazyLock<KeyRef> = LazyLock::new(|| key(&keys().job(job())));
    *KEY
}

/// The key of the job's lock.
pub fn lock_key() -> KeyRef {
    static KEY: LazyLock<KeyRef> = LazyLock::new(|| key(&keys().lock(job())));
    *KEY
}

/// The key of a worker's registration.
pub fn worker_key(worker: usize) -> KeyRef {
    static ALL: LazyLock<Vec<KeyRef>> =
        LazyLock::new(|| (0..4).map(|worker| key(&keys().worker(&worker_id(worker)))).collect());
    ALL[worker]
}

/// A worker's id.
pub fn worker_id(worker: usize) -> WorkerId {
    format!("w{worker}").parse().expect("a valid name")
}

/// Which worker an id names.
pub fn worker_of(id: &WorkerId) -> usize {
    usize::from(id.as_str().as_bytes()[1] - b'0')
}

/// A tick by its number.
pub fn tick(n: N) -> Tick {
    Tick::from_instant(DateTime::from_timestamp(EPOCH + i64::from(n), 0).expect("in range"))
}

/// A tick's number.
pub fn number(tick: Tick) -> N {
    N::try_from(tick.seconds() - EPOCH).expect("a tick of the model")
}

/// The revision of a worker's session, by its count from 1.
pub fn session_revision(worker: usize, session: Rev) -> Rev {
    FIRST_SESSION + SESSIONS * Rev::try_from(worker).expect("few workers") + session
}

/// A session as the claim protocol names it.
pub fn session(worker: usize, session: Rev) -> Session {
    Session { worker: worker_id(worker), revision: revision(session_revision(worker, session)) }
}

/// A run's id. `nonce` tells apart what one session wants of one tick more than once.
pub fn run_id(worker: usize, session: Rev, tick: N, nonce: u8) -> RunId {
    let bits =
        u128::from(session_revision(worker, session)) << 16 | u128::from(tick) << 8 | u128::from(nonce);
    RunId::from_uuid(Uuid::from_u128(bits << 8 | 1))
}

/// A record's content, kept once.
pub fn held(held: HeldLock) -> HeldRef {
    HELD.intern(held.encode(), |_| held.clone())
}

/// What a session claims. The instants are left out: nothing compares them.
pub fn claimed(worker: usize, of: Rev, fence: N, run: RunId, tick_n: Option<N>, cause: Cause) -> HeldLock {
    let session = session(worker, of);
    HeldLock {
        job: job().clone(),
        fence: tick(fence),
        run,
        attempt: if cause == Cause::Retry { 2 } else { 1 },
        tick: tick_n.map(tick),
        cause,
        worker: session.worker,
        session: session.revision,
        epoch: common::epoch::Epoch::default(),
        claimed: tick(0).instant(),
        skipped: 0,
        last_skip: None,
        missed: None,
        also_missed: Vec::new(),
        claim_revision: None,
        command: None,
    }
}

/// Ticks `from..=to`; `None` when there are none.
pub fn stretch(from: N, to: N) -> Option<Stretch> {
    (from <= to).then(|| Stretch {
        from: tick(from),
        to: tick(to),
        count: u64::from(to + 1 - from),
        why: Why::Usual,
    })
}

/// What names ticks that a change of the job passed over.
pub fn passed((from, to): (N, N)) -> Passed {
    Passed { job: job().clone(), ticks: stretch(from, to).expect("some ticks"), reason: String::new() }
}

/// The job as managers read it: it has every tick.
pub fn stored_job() -> &'static StoredJob {
    static STORED: LazyLock<StoredJob> = LazyLock::new(|| {
        let trigger = Trigger::Every { period: Span::seconds(1), anchor: Some(tick(0).instant()) };
        let job = Job::new(job().clone(), trigger, Command::Exec(Exec::default()));
        StoredJob::new(job, tick(0).instant())
    });
    &STORED
}

/// How the last run ended: always the same, since no transaction looks at it.
pub fn last_run() -> LastRun {
    LastRun {
        run: run_id(0, 0, 0, 0),
        state: RunState::Succeeded,
        ended: tick(0).instant(),
        worker: worker_id(0),
        claimed: None,
        recorded: None,
    }
}

/// A queued run.
pub fn wanted(run: RunId, tick: Option<Tick>, cause: Cause) -> QueuedRun {
    QueuedRun {
        job: job().clone(),
        run,
        attempt: if cause == Cause::Retry { 2 } else { 1 },
        cause,
        tick,
        since: self::tick(0).instant(),
        not_before: None,
        deadline: None,
        worker: None,
        by: String::new(),
        killed: None,
        task: None,
    }
}

/// What a stored lock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LockView {
    /// Free at this fence.
    Free(N),
    /// Held.
    Held(HeldRef),
}

impl LockView {
    /// What the real lock says.
    pub fn of(lock: &Lock) -> Self {
        match lock {
            Lock::Free(free) => Self::Free(number(free.fence)),
            Lock::Held(inner) => Self::Held(held(inner.clone())),
        }
    }

    /// The real lock.
    pub fn real(&self) -> Lock {
        match self {
            Self::Free(fence) => Lock::new(tick(*fence)),
            Self::Held(held) => Lock::Held((**held).clone()),
        }
    }

    /// The last decided tick.
    pub fn fence(&self) -> N {
        match self {
            Self::Free(fence) => *fence,
            Self::Held(held) => number(held.fence),
        }
    }
}
