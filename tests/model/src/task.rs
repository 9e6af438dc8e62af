//! A task as a model, checked in all its states: one task, two workers with two lives each, transactions that are late,
//! done again or whose answers are lost, and caretakers that believe anybody gone.
//!
//! What is sent are the real transactions of `worker::claim::task`, on really encoded values; whether a task is tried
//! again is `worker::run::retry::again`; what becomes of an orphan is `worker::claim::Orphan`. Only what a worker
//! remembers, and when it sends, is written again here: whoever changes that in `worker/src/run/task.rs` or
//! `worker/src/duty/tasks.rs` changes it here too.
//!
//! # What holds
//!
//! [`ALONE`]: the task never executes twice at the same time. [`ONCE`]: no attempt executes twice. [`FOUND`]: at any time the
//! task is in the queue, or active, or on record for good. [`SETTLED`]: when nothing is left to happen by itself, it is
//! on record and the store has nothing of it.
//!
//! # Bounds
//!
//! Two attempts; a death, a lapse of a lease, a lost answer and a caretaker's mistake at most as often as a test says. What
//! is spooled counts as on record: that an ended task waits for the run log is not modelled. Kills, deadlines and placement are left out: they decide whether a task is taken, and
//! not how.

mod act;
mod store;

use std::collections::BTreeMap;

use common::{
    job::Delivery,
    queue::QueuedRun,
    revision::Revision,
    run::{Cause, RunState},
    store::key::Keys,
    task::{ActiveTask, Task},
};
use stateright::{Model, Property};

pub use act::Action;
use store::Store;
pub use store::{Flight, Purpose};

/// The task never executes twice at the same time.
pub const ALONE: &str = "alone";
/// No attempt executes twice.
pub const ONCE: &str = "once";
/// The task is in the queue, or active, or on record for good; and not in two of the first.
pub const FOUND: &str = "found";
/// In the end it is on record, and the store has nothing of it.
pub const SETTLED: &str = "settled";

/// What can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// Who takes a task compares its entry in the queue.
    TakeComparesTheEntry,
    /// An end compares the claim.
    EndComparesTheClaim,
    /// A next attempt is queued only in place of the claim.
    AgainComparesTheClaim,
    /// A caretaker compares that the holder's session is gone.
    LoseComparesTheHolder,
    /// A caretaker compares the claim.
    LoseComparesTheClaim,
    /// A lease ends only after its worker stopped what executes.
    TrustDeadline,
    /// A claim that was done after it had been given up is queued again.
    PhantomIsQueuedAgain,
    /// A claim is one's own by worker and session, not by the worker's name alone.
    SessionNotName,
    /// A lost attempt goes on record before the store says that it is lost.
    RecordBeforeTheSwap,
}

/// The model, and what may happen in it.
#[derive(Clone, Debug)]
pub struct TaskModel {
    /// The rule that is switched off.
    pub without: Option<Rule>,
    /// What is done when its worker is gone.
    pub delivery: Delivery,
    /// So many attempts.
    pub attempts: u32,
    /// So many deaths of workers.
    pub deaths: u8,
    /// So many leases that end while their worker lives.
    pub lapses: u8,
    /// So many answers that are lost, so that what was sent is sent again.
    pub lost: u8,
    /// So often a caretaker believes a worker gone that lives.
    pub mistakes: u8,
}

impl TaskModel {
    /// Everything is done, once, and nothing dies.
    pub const fn new() -> Self {
        Self {
            without: None,
            delivery: Delivery::AtMostOnce,
            attempts: 1,
            deaths: 0,
            lapses: 0,
            lost: 0,
            mistakes: 0,
        }
    }

    fn has(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    fn task(&self) -> Task {
        let driver = r#"{"driver": {"exec": {"argv": ["/bin/true"]}}}"#;
        let mut task: Task = serde_json::from_str(driver).expect("a literal of the model");
        task.delivery = self.delivery;
        task.retry.attempts = self.attempts;
        task
    }
}

impl Default for TaskModel {
    fn default() -> Self {
        Self::new()
    }
}

/// What a worker does.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Doing {
    /// Nothing of the task.
    Nothing,
    /// It has asked for the claim.
    Taking,
    /// It executes, and what its claim says stands there since this revision.
    Executing(Vec<u8>, i64),
    /// It says how it ended.
    Ending,
}

/// A worker that lives.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Life {
    /// Which life of it.
    pub number: u8,
    /// Its session, as long as it trusts it.
    pub session: Option<i64>,
    /// What it does.
    pub doing: Doing,
    /// It has a caretaker's transaction on its way.
    pub caring: bool,
}

/// All there is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    store: Store,
    workers: [Option<Life>; 2],
    flights: Vec<Flight>,
    /// How each attempt ended.
    records: BTreeMap<u32, &'static str>,
    /// How often each attempt was started.
    starts: BTreeMap<u32, u8>,
    /// Who executes which attempt.
    executing: Vec<(usize, u32)>,
    deaths: u8,
    lapses: u8,
    lost: u8,
    mistakes: u8,
}

fn keys() -> Keys {
    Keys::new("/q/").expect("a literal of the model")
}

fn run() -> common::id::RunId {
    "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b".parse().expect("a literal of the model")
}

fn worker(n: usize) -> common::id::WorkerId {
    format!("w{n}").parse().expect("a literal of the model")
}

impl State {
    fn queued(&self) -> Option<(QueuedRun, Revision)> {
        let entry = self.store.get(&keys().wanted(&run()))?;
        Some((QueuedRun::decode(&entry.value).expect("what was written"), entry.mod_revision))
    }

    fn active(&self) -> Option<(ActiveTask, Revision)> {
        let entry = self.store.get(&keys().active(&run()))?;
        Some((ActiveTask::decode(&entry.value).expect("what was written"), entry.mod_revision))
    }

    /// True: its newest attempt is on record.
    fn is_on_record(&self) -> bool {
        let newest = self.starts.keys().next_back().copied().unwrap_or(1);
        self.records.contains_key(&newest)
    }
}

impl Model for TaskModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let now = chrono::DateTime::UNIX_EPOCH;
        let task = self.task();
        let wanted = QueuedRun {
            task: Some(std::sync::Arc::new(task.clone())),
            ..QueuedRun::new(task.name, run(), Cause::Manual, now)
        };
        let mut store = Store::default();
        store.put(&keys().wanted(&run()), wanted.encode());
        let mut life = |n: usize| {
            let session = store.put(&keys().worker(&worker(n)), vec![1]);
            Some(Life { number: 1, session: Some(session), doing: Doing::Nothing, caring: false })
        };
        let workers = [life(0), life(1)];
        vec![State {
            store,
            workers,
            flights: Vec::new(),
            records: BTreeMap::new(),
            starts: BTreeMap::new(),
            executing: Vec::new(),
            deaths: 0,
            lapses: 0,
            lost: 0,
            mistakes: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        state.possible(self, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        next.act(self, &action);
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ALONE, |_, state: &State| state.executing.len() <= 1),
            Property::always(ONCE, |_, state: &State| state.starts.values().all(|starts| *starts <= 1)),
            Property::always(FOUND, |_, state: &State| match (state.queued(), state.active()) {
                (Some(_), Some(_)) => false,
                (None, None) => state.is_on_record(),
                _ => true,
            }),
            Property::always(SETTLED, |model: &Self, state: &State| {
                let mut actions = Vec::new();
                state.possible(model, &mut actions);
                let is_settled = state.queued().is_none() && state.active().is_none() && state.is_on_record();
                is_settled || actions.iter().any(|action| model.next_state(state, action.clone()).is_some())
            }),
        ]
    }
}

/// How an attempt ends.
pub(crate) const SUCCEEDED: &str = RunState::Succeeded.name();
pub(crate) const FAILED: &str = RunState::Failed.name();
pub(crate) const LOST: &str = RunState::Lost.name();
