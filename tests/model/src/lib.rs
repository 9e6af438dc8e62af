//! The claim protocol as a model, checked in all its states.
//!
//! A state ([`world::World`]) is a store of a few keys, the workers, what is on its way between them, and what has
//! come to pass. What is sent are the real transactions: [`request`] has them built by `worker::claim` and
//! `manager::change::txn`, and outcomes judged by `worker::claim::outcome`; [`store`] does them on really encoded values,
//! comparing real bytes. What becomes of a tick is the worker's own verdict ([`look`]), and what managers decide is
//! `manager::change::decision`. Only what each worker remembers and when it sends is written again here ([`step`],
//! [`action`]): whoever changes that in `decide.rs`, `carry_out.rs`, `orphan.rs` or `take.rs` changes it here too.
//!
//! # What holds
//!
//! [`promises`]: a tick is claimed only by the definition that stands (P0), at most once (P1); two runs of a `skip`
//! job never execute at the same time (P2); every tick that is decided, or passed over by a save or delete, is on record once nothing is left to happen by itself,
//! and then no lock is held and no run is claimed or wanted (P3). The tests in `tests/check` show that they hold,
//! and that each rule of [`rules`] is needed.
//!
//! # What is covered
//!
//! Any worker may find any tick due at any time: that is every skew of clocks, every rank and hedge, every view of
//! who lives. Claims and skips, catch-up (`latest`, `all`, past the deadline), finish, finish and next claim in one,
//! take-over, phantoms (released, or taken up), overlap `skip` and `allow`, retries and
//! asked-for runs through the queue. Processes die and return while their old lease lives or after it; workers are
//! cut off and begin another session; requests are done late, twice, or after their sender's death; answers are late
//! or lost, and what was sent is sent again until the answer is definite. Jobs are saved, edited, deleted and made
//! again by managers whose transactions are late as well; workers see it late.
//!
//! # Bounds
//!
//! One job; 2 workers and 2 ticks, or 3 of one of them; 2 sessions of a worker, 2 attempts of a run. Each kind of fault
//! or change happens at most once in a test, which names those that it combines. A test has 25,000 to 400,000
//! states and prints them; all states within its bounds are explored. All tests together take about half a minute
//! on two cores.
//!
//! Two reductions, neither of which hides a state: revisions are compared for equality only, so the smallest one
//! that nothing refers to stands for a new one; and what can never succeed any more (a compare with a revision that
//! is past, a claim at or behind the fence) is dropped, or not sent.
//!
//! # What is not covered
//!
//! That the trust deadline and the guard keep time: a lease ends only when its worker no longer trusts it and
//! nothing of it executes ([`rules::Rule::TrustDeadline`], [`rules::Rule::KilledBeforeRevoked`]); that is lease.rs and guard.rs,
//! and an etcd that revokes a lease it has just renewed. Overlap `replace` and `queue-one`, an edit from `allow` to
//! `skip`, which of the ticks that find a run are skipped and which were missed before it, kills, pauses (in the store they are saves), a job written by hand (`create_lock`), the queue of a job that is deleted, a misfire
//! deadline in the queue, `on_lease_loss: keep`. The size and halving of batches; two workers of one name. The spool
//! and the run log: a record that is spooled counts as found. An etcd that is restored. That something happens *in
//! time*: P3 says that nothing is stuck, not when it is done.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use stateright::Property;

use worker::claim::Place;

use crate::{
    action::Action,
    rules::Rules,
    world::{Budget, World},
};

pub mod action;
pub mod cast;
pub mod interned;
pub mod look;
pub mod promises;
pub mod request;
pub mod rules;
pub mod step;
pub mod store;
pub mod task;
pub mod world;

/// What is modelled, and how far.
#[derive(Clone, Debug)]
pub struct Model {
    /// How many workers.
    pub workers: usize,
    /// How many ticks.
    pub ticks: cast::N,
    /// Sessions of one worker, at most.
    pub sessions: cast::Rev,
    /// Overlap `skip` claims in the lock, `allow` beside it.
    pub place: Place,
    /// The rules in force.
    pub rules: Rules,
    /// The faults and changes that may happen.
    pub budget: Budget,
    /// Runs may fail, and get a second attempt.
    pub retry: bool,
    /// A lost first attempt gets a second one.
    pub at_least_once: bool,
    /// Misfire policy `all`: missed ticks are queued.
    pub all: bool,
    /// Ticks may be so late that they get no run.
    pub past_deadline: bool,
    /// A worker may finish and claim in one transaction.
    pub merge: bool,
    /// What was met in any state.
    pub met: Arc<AtomicU32>,
}

/// Something that a model has to meet, or it shows little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Met {
    Skipped,
    SkippedUnheard,
    CaughtUp,
    Took,
    Retried,
    Merged,
    TookOver,
    TookUp,
    Released,
    FreedBeside,
    Withdrawn,
    DoneAdrift,
    RegisteredOverOldLease,
    Told,
}

impl Model {
    /// Two workers, two ticks, overlap `skip`, all rules, nothing goes wrong.
    pub fn new() -> Self {
        Self {
            workers: 2,
            ticks: 2,
            sessions: 2,
            place: Place::Lock,
            rules: Rules::ALL,
            budget: Budget::default(),
            retry: false,
            at_least_once: false,
            all: false,
            past_deadline: false,
            merge: false,
            met: Arc::default(),
        }
    }

    fn met(&self, what: Met) {
        self.met.fetch_or(1 << what as u32, Ordering::Relaxed);
    }

    /// True when it happened in some state.
    pub fn has_met(&self, what: Met) -> bool {
        self.met.load(Ordering::Relaxed) & (1 << what as u32) != 0
    }
}

impl Default for Model {
    fn default() -> Self {
        Self::new()
    }
}

impl stateright::Model for Model {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.workers, self.budget)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        self.enumerate(world, actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        self.take_step(&mut next, action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        promises::all()
    }
}
