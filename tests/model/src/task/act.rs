//! What can happen next, and what then becomes of the state.

use common::{
    job::Job,
    lock::{ClaimedCommand, HeldLock, Holder},
    queue::QueuedRun,
    run::{Cause, RunState},
    store::{Compare, Key, Op, Revision, Txn, TxnOutcome},
    task::{ActiveTask, Ended},
    tick::Tick,
};
use worker::{
    claim::{self, HolderLife, Orphan, Session, Taking, task::Lost},
    run::retry::{How, again},
};

use super::{
    Doing, FAILED, Flight, LOST, Life, Purpose, Rule, SUCCEEDED, State, TaskModel, keys, run, worker,
};

/// A step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Action {
    Take(usize),
    /// The transaction is done, and its sender hears of it if it lives.
    Do(usize),
    /// The transaction is done, and its answer is lost: its sender sends it again.
    DoUnheard(usize),
    /// Its sender has given up waiting, and goes on without; it may still be done.
    GiveUp(usize),
    /// An execution ends by itself.
    Finish(usize, &'static str),
    /// The worker stops what it executes, for its lease is about to end.
    StopInTime(usize),
    Die(usize),
    /// The guard of a dead worker ends what it executed.
    Guard(usize),
    LeaseEnds(usize),
    /// It lives again, or has a new session.
    Register(usize),
    /// A worker looks at what is active, and believes its holder gone.
    Care(usize),
    Forget(usize),
}

/// How an attempt ended, by the name of its state.
pub(crate) fn how(state: &str) -> How {
    let state = state.parse().expect("a state of the model");
    How { state, exit_code: (state == RunState::Failed).then_some(1), ..How::LOST }
}

fn now() -> chrono::DateTime<chrono::Utc> {
    chrono::DateTime::UNIX_EPOCH
}

fn ended(state: &str) -> Ended {
    let state = state.parse().expect("a state of the model");
    let (err, reason) = (String::new(), String::new());
    Ended { state, started: now(), at: now(), err, reason, exit_code: None, signal: None }
}

/// Takes the compares with a key out.
fn without_compares(txn: &mut Txn, key: &Key) {
    txn.compares.retain(|compare| !matches!(compare, Compare::ModRevision(compared, _) if compared == key));
}

impl State {
    pub(crate) fn possible(&self, model: &TaskModel, actions: &mut Vec<Action>) {
        for n in 0..self.flights.len() {
            actions.push(Action::Do(n));
            if self.lost < model.lost {
                actions.push(Action::DoUnheard(n));
                // An end is sent again until the answer is definite.
                let is_waited_for = self.workers[self.flights[n].worker]
                    .as_ref()
                    .is_some_and(|life| life.number == self.flights[n].life);
                if is_waited_for && matches!(self.flights[n].purpose, Purpose::Take(_) | Purpose::Lose(_)) {
                    actions.push(Action::GiveUp(n));
                }
            }
        }
        for w in 0..2 {
            let registered = self.store.get(&keys().worker(&worker(w)));
            let executes = self.executing.iter().any(|(who, _)| *who == w);
            let may_end = !executes || !model.has(Rule::TrustDeadline);
            match &self.workers[w] {
                None => {
                    if executes {
                        actions.push(Action::Guard(w));
                    }
                    if registered.is_some() && may_end {
                        actions.push(Action::LeaseEnds(w));
                    }
                    if !executes {
                        actions.push(Action::Register(w));
                    }
                }
                Some(life) => self.possible_of(model, (w, life), registered.is_some(), actions),
            }
        }
    }

    fn possible_of(
        &self,
        model: &TaskModel,
        (w, life): (usize, &Life),
        is_registered: bool,
        actions: &mut Vec<Action>,
    ) {
        if self.deaths < model.deaths {
            actions.push(Action::Die(w));
        }
        let executes = matches!(life.doing, Doing::Executing(..));
        if life.session.is_some() && self.lapses < model.lapses {
            actions.push(Action::StopInTime(w));
        }
        if life.session.is_none() {
            match is_registered {
                true => actions.push(Action::LeaseEnds(w)),
                false => actions.push(Action::Register(w)),
            }
        }
        if executes {
            actions.push(Action::Finish(w, SUCCEEDED));
            if model.attempts > 1 {
                actions.push(Action::Finish(w, FAILED));
            }
        }
        if life.session.is_some() {
            if life.doing == Doing::Nothing && self.queued().is_some() {
                actions.push(Action::Take(w));
            }
            if !life.caring && self.active().is_some_and(|(active, _)| active.ended.is_none()) {
                actions.push(Action::Care(w));
            }
            if self.active().is_some_and(|(active, _)| active.ended.is_some()) {
                actions.push(Action::Forget(w));
            }
        }
    }

    pub(crate) fn act(&mut self, model: &TaskModel, action: &Action) {
        match *action {
            Action::Take(w) => self.take(model, w),
            Action::Do(n) => {
                let flight = self.flights.remove(n);
                let outcome = self.store.apply(&flight.txn);
                self.answer(model, &flight, &outcome);
            }
            Action::DoUnheard(n) => {
                self.lost += 1;
                let txn = self.flights[n].txn.clone();
                self.store.apply(&txn);
            }
            Action::GiveUp(n) => self.give_up(n),
            Action::Finish(w, state) => self.finish(model, w, state),
            Action::StopInTime(w) => self.stop_in_time(model, w),
            Action::Die(w) => {
                self.deaths += 1;
                self.workers[w] = None;
            }
            Action::Guard(w) => self.executing.retain(|(who, _)| *who != w),
            Action::LeaseEnds(w) => {
                self.store.delete(&keys().worker(&worker(w)));
            }
            Action::Register(w) => self.register(w),
            Action::Care(w) => self.care(model, w),
            Action::Forget(w) => self.forget(w),
        }
    }

    fn send(&mut self, worker: usize, purpose: Purpose, txn: Txn) {
        let life = self.workers[worker].as_ref().map_or(0, |life| life.number);
        self.flights.push(Flight { worker, life, purpose, txn });
        self.flights.sort_by(|one, other| one.key().cmp(&other.key()));
    }

    fn session(&self, w: usize) -> Option<Session> {
        let session = self.workers[w].as_ref()?.session?;
        Some(Session { worker: worker(w), revision: Revision::new(session) })
    }

    fn is_gone(&self, active: &ActiveTask) -> bool {
        let registered = self.store.get(&keys().worker(&active.held.worker));
        registered.is_none_or(|entry| entry.create_revision != active.held.session)
    }

    fn take(&mut self, model: &TaskModel, w: usize) {
        let (Some((wanted, written)), Some(session)) = (self.queued(), self.session(w)) else { return };
        let holder = Holder {
            worker: session.worker.clone(),
            session: session.revision,
            epoch: common::epoch::Epoch::default(),
        };
        let held = HeldLock::new(&wanted, Tick::from_instant(now()), holder, now(), ClaimedCommand::of(""));
        let task = wanted.task.clone().expect("it is a task");
        let active = ActiveTask { held, task, ended: None };
        let entry = keys().wanted(&run());
        let taking = Taking { entry: entry.clone(), written, kills: (Revision::NONE, Revision::NONE) };
        let mut txn = claim::task::take(&keys(), &active, &taking);
        if !model.has(Rule::TakeComparesTheEntry) {
            without_compares(&mut txn, &entry);
        }
        // As the batcher sends it.
        txn.compares.push(Compare::CreateRevision(keys().worker(&session.worker), session.revision));
        self.workers[w].iter_mut().for_each(|life| life.doing = Doing::Taking);
        self.send(w, Purpose::Take(active.encode()), txn);
    }

    fn answer(&mut self, model: &TaskModel, flight: &Flight, outcome: &TxnOutcome) {
        let w = flight.worker;
        let Some(life) = self.workers[w].as_mut().filter(|life| life.number == flight.life) else { return };
        match &flight.purpose {
            Purpose::Take(active) if life.doing == Doing::Taking => {
                let claim = ActiveTask::decode(active).expect("what was sent");
                let session = Session { worker: worker(w), revision: claim.held.session };
                let won = claim::task::won(outcome, &claim, &session);
                // The last look before the start.
                let trusted = life.session == Some(claim.held.session.get());
                life.doing = Doing::Nothing;
                let Some(revision) = won else { return };
                life.doing = Doing::Executing(active.clone(), revision.get());
                if trusted {
                    self.executing.push((w, claim.held.attempt));
                    *self.starts.entry(claim.held.attempt).or_default() += 1;
                } else {
                    self.finish(model, w, LOST);
                }
            }
            Purpose::End(_) | Purpose::Again(_) if life.doing == Doing::Ending => life.doing = Doing::Nothing,
            Purpose::Lose(_) => life.caring = false,
            _ => {}
        }
    }

    /// What was sent may still be done; its sender does not wait for it any more.
    fn give_up(&mut self, n: usize) {
        self.lost += 1;
        let Flight { worker, purpose, .. } = self.flights[n].clone();
        self.flights[n].life = 0;
        let Some(life) = self.workers[worker].as_mut() else { return };
        match purpose {
            Purpose::Lose(_) => life.caring = false,
            _ => life.doing = Doing::Nothing,
        }
        self.flights.sort_by(|one, other| one.key().cmp(&other.key()));
    }

    /// It is on record, and then its worker says so in the store.
    fn finish(&mut self, model: &TaskModel, w: usize, state: &'static str) {
        self.executing.retain(|(who, _)| *who != w);
        let Some(life) = self.workers[w].as_mut() else { return };
        let Doing::Executing(active, revision) = std::mem::replace(&mut life.doing, Doing::Ending) else {
            return;
        };
        let active = ActiveTask::decode(&active).expect("what was claimed");
        let revision = Revision::new(revision);
        self.records.insert(active.held.attempt, state);
        let job: Job = model.task().as_job();
        let key = keys().active(&run());
        match again(&job, active.held.attempt, how(state)) {
            Some(_) => {
                let mut txn = claim::task::again(&keys(), &active, revision, &next(&active));
                if !model.has(Rule::AgainComparesTheClaim) {
                    without_compares(&mut txn, &key);
                }
                self.send(w, Purpose::Again(active.encode()), txn);
            }
            None => {
                let (by, session) = (active.held.worker.clone(), active.held.session);
                let ended = active.ended(ended(state), revision, (&by, session));
                let mut txn = claim::task::end(&keys(), &ended, revision);
                if !model.has(Rule::EndComparesTheClaim) {
                    without_compares(&mut txn, &key);
                }
                self.send(w, Purpose::End(ended.encode()), txn);
            }
        }
    }

    fn stop_in_time(&mut self, model: &TaskModel, w: usize) {
        self.lapses += 1;
        let Some(life) = self.workers[w].as_mut() else { return };
        life.session = None;
        if matches!(life.doing, Doing::Executing(..)) && model.has(Rule::TrustDeadline) {
            self.finish(model, w, LOST);
        }
    }

    fn register(&mut self, w: usize) {
        let key = keys().worker(&worker(w));
        // A worker that returns revokes its earlier life's lease.
        self.store.delete(&key);
        let session = Some(self.store.put(&key, vec![1]));
        match &mut self.workers[w] {
            Some(life) => life.session = session,
            None => {
                let number = 1 + self.deaths;
                let life = Life { number, session, doing: Doing::Nothing, caring: false };
                self.workers[w] = Some(life);
            }
        }
    }

    fn care(&mut self, model: &TaskModel, w: usize) {
        let (Some((active, seen)), Some(session)) = (self.active(), self.session(w)) else { return };
        let Some(life) = &self.workers[w] else { return };
        let by_name = active.held.worker == session.worker;
        let mine = by_name && (active.held.session == session.revision || !model.has(Rule::SessionNotName));
        let has = life.doing != Doing::Nothing;
        let holder = match mine {
            true if has => HolderLife::Other,
            true => HolderLife::Me,
            // What it knows of others may be old, and may be wrong.
            false => HolderLife::Gone,
        };
        let Some(orphan) = Orphan::of(holder) else { return };
        if orphan == Orphan::Gone && !self.is_gone(&active) && self.mistakes == model.mistakes {
            return;
        }
        if orphan == Orphan::Phantom && !model.has(Rule::PhantomIsQueuedAgain) {
            return;
        }
        let job = model.task().as_job();
        let then = match orphan {
            Orphan::Phantom => Lost::Queued(Box::new(same(&active))),
            Orphan::Gone if again(&job, active.held.attempt, How::LOST).is_some() => {
                Lost::Queued(Box::new(next(&active)))
            }
            Orphan::Gone => {
                let by = (&session.worker, session.revision);
                Lost::Ended(Box::new(active.clone().ended(ended(LOST), seen, by)))
            }
        };
        if orphan == Orphan::Gone {
            if !self.is_gone(&active) {
                self.mistakes += 1;
            }
            if model.has(Rule::RecordBeforeTheSwap) {
                // Its worker's record beats it, whichever comes first.
                self.records.entry(active.held.attempt).or_insert(LOST);
            }
        }
        let mut txn = claim::task::lose(&keys(), &active, seen, orphan, &then);
        if !model.has(Rule::LoseComparesTheHolder) {
            txn.compares.retain(|compare| !matches!(compare, Compare::CreateRevisionNot(..)));
        }
        if !model.has(Rule::LoseComparesTheClaim) {
            without_compares(&mut txn, &keys().active(&run()));
        }
        self.workers[w].iter_mut().for_each(|life| life.caring = true);
        self.send(w, Purpose::Lose(active.encode()), txn);
    }

    /// The run log has it; whoever answers for it, or finds it, removes it.
    fn forget(&mut self, w: usize) {
        let (Some((active, seen)), Some(_)) = (self.active(), self.session(w)) else { return };
        let is_logged = self.records.contains_key(&active.held.attempt);
        if is_logged {
            let key = keys().active(&run());
            self.store
                .apply(&Txn::when(vec![Compare::ModRevision(key.clone(), seen)], vec![Op::Delete(key)]));
        }
    }
}

/// The next attempt.
fn next(active: &ActiveTask) -> QueuedRun {
    let again = QueuedRun::again(&active.held, now(), now());
    QueuedRun { task: Some(active.task.clone()), ..again }
}

/// The same attempt, which never started.
fn same(active: &ActiveTask) -> QueuedRun {
    let held = &active.held;
    let wanted = QueuedRun::new(held.job.clone(), held.run, Cause::Manual, now());
    QueuedRun { attempt: held.attempt, task: Some(active.task.clone()), ..wanted }
}
