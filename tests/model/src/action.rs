//! What can happen in a state.

use common::id::RunId;
use worker::{
    claim::{HolderLife, Orphan, Place},
    tick::verdict::Verdict,
};

use crate::{
    Model,
    cast::{self, KeyRef, LockView, N},
    look::{Executes, Sight, When},
    rules::Rule,
    world::{Phase, Worker, World},
};

/// One step. A number is a worker's, or an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The worker claims a tick that it finds due.
    Claim(usize, N),
    /// It claims a tick that is late, or whose earlier ones are not decided.
    CatchUp(usize, N, When),
    /// It holds the lock, and finds another tick due.
    Skip(usize, N),
    /// A run of it ends, and its record is spooled.
    End(usize, usize, Phase),
    /// It frees the lock of a run that has ended, or removes its record.
    Finish(usize, usize),
    /// It does both in one transaction: finish and the claim of the next tick.
    FinishAndClaim(usize, N),
    /// It finds a lock whose holder is gone: spools what the lock says, then frees it.
    TakeOver(usize),
    /// It finds a lock of its own session for a run that it never started, and frees it.
    Release(usize),
    /// The same, and it starts the run.
    TakeUp(usize),
    /// It takes a queued run.
    Take(usize, KeyRef, RunId),
    /// It frees the record of a lost run that held no lock.
    FreeBeside(usize, KeyRef),
    /// It sees the job's definition as it stands.
    Watch(usize),
    /// What it sent is done in the store.
    Deliver(usize, Reply),
    /// The answer that was late comes.
    Receive(usize),
    /// A transaction that was adrift is done.
    Drift(usize),
    /// Its process dies.
    Crash(usize),
    /// The guard kills what the dead process left.
    GuardKills(usize),
    /// A new process starts, after killing what the last one left.
    Restart(usize),
    /// It no longer trusts its lease.
    CutOff(usize),
    /// Its lease ends in the store.
    Expire(usize),
    /// It revokes its old lease, if there is one, and begins a new session.
    Register(usize),
    /// A manager sends a save that moves the fence to this instant.
    Save(N),
    /// A manager sends a save that leaves the fence.
    Edit,
    /// It puts passed ticks on record.
    Tell(usize, KeyRef),
    /// A manager sends a delete at this instant.
    Delete(N),
    /// A manager sends a queued run.
    RunNow,
}

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// It comes at once.
    AtOnce,
    /// It comes later.
    Late,
    /// It is lost: the transaction is sent again.
    Lost,
    /// It comes at once, and another copy of the transaction is still on its way.
    Copied,
}

impl Action {
    /// True for what happens by itself in time, without a fault, a change or a tick that becomes due.
    pub const fn is_progress(&self) -> bool {
        !matches!(
            self,
            Self::Claim(..)
                | Self::CatchUp(..)
                | Self::Skip(..)
                | Self::Drift(_)
                | Self::Crash(_)
                | Self::CutOff(_)
                | Self::Save(_)
                | Self::Edit
                | Self::Delete(_)
                | Self::RunNow
        )
    }
}

impl Model {
    /// Everything that can happen.
    pub fn enumerate(&self, world: &World, actions: &mut Vec<Action>) {
        for worker in 0..world.workers.len() {
            self.of_process(world, worker, actions);
            self.of_lease(world, worker, actions);
            self.of_worker(world, worker, actions);
        }
        actions.extend((0..world.adrift.len()).map(Action::Drift));
        self.of_managers(world, actions);
    }

    fn of_process(&self, world: &World, w: usize, actions: &mut Vec<Action>) {
        let (worker, left) = (&world.workers[w], &world.left);
        if !worker.up {
            if worker.session < self.sessions {
                actions.push(Action::Restart(w));
            }
            return;
        }
        if left.crashes > 0 {
            actions.push(Action::Crash(w));
        }
        if worker.view != world.store.definition() {
            actions.push(Action::Watch(w));
        }
        match &worker.ask {
            Some(ask) if ask.answer.is_some() => actions.push(Action::Receive(w)),
            Some(_) => {
                actions.push(Action::Deliver(w, Reply::AtOnce));
                let variants =
                    [(Reply::Late, left.late), (Reply::Lost, left.lost), (Reply::Copied, left.copies)];
                let possible = variants.into_iter().filter(|(_, left)| *left > 0);
                actions.extend(possible.map(|(reply, _)| Action::Deliver(w, reply)));
            }
            None => {}
        }
        for (at, run) in worker.runs.iter().enumerate() {
            if run.phase == Phase::Executing {
                actions.push(Action::End(w, at, Phase::Ended));
                if self.retry && worker.trusted && run.held.attempt == 1 {
                    actions.push(Action::End(w, at, Phase::Failed));
                }
            }
            let early = !self.rules.keep(Rule::FreedAfterTheEnd);
            if worker.ask.is_none() && (run.phase != Phase::Executing || early) {
                actions.push(Action::Finish(w, at));
            }
        }
    }

    fn of_lease(&self, world: &World, w: usize, actions: &mut Vec<Action>) {
        let worker = &world.workers[w];
        let executes = worker.orphan || worker.runs.iter().any(|run| run.phase == Phase::Executing);
        if worker.orphan {
            actions.push(Action::GuardKills(w));
        }
        if worker.up && worker.trusted && world.left.cut_offs > 0 {
            actions.push(Action::CutOff(w));
        }
        let distrusted = !worker.up || !worker.trusted;
        let may_end = if self.rules.keep(Rule::TrustDeadline) { distrusted && !executes } else { true };
        if world.store.session(w) != 0 && may_end {
            actions.push(Action::Expire(w));
        }
        let left_behind = !worker.runs.iter().any(|run| run.phase == Phase::Executing)
            && !self.rules.keep(Rule::KilledBeforeRevoked);
        if worker.up && !worker.trusted && (!executes || left_behind) && worker.session < self.sessions {
            actions.push(Action::Register(w));
        }
    }

    fn of_worker(&self, world: &World, w: usize, actions: &mut Vec<Action>) {
        let worker = &world.workers[w];
        if !worker.up || !worker.trusted || worker.ask.is_some() {
            return;
        }
        let lock = world.store.lock();
        if let Some(here) = worker.holding {
            if worker.view != 0 {
                self.of_own_lock(worker, w, &here.held, actions);
            }
            return;
        }
        if worker.view != 0 {
            // A claim at or behind the fence is sent in truth, and can never win: its definition's fence only grows.
            let only_grows = self.rules.keep(Rule::Fence) && self.rules.keep(Rule::FinishKeepsTheFence);
            let fence = lock.filter(|_| only_grows).map_or(0, |(lock, _)| lock.fence());
            let claims =
                |n: &N| matches!(self.verdict(*n, When::OnTime, Sight::Unread), Verdict::Claim { .. });
            actions.extend((fence + 1..=self.ticks).filter(claims).map(|n| Action::Claim(w, n)));
        }
        match lock {
            Some((LockView::Free(fence), _)) if worker.view != 0 => {
                self.of_free_lock(world, w, fence, actions);
            }
            Some((LockView::Held(held), _)) => self.of_held_lock(world, w, &held, actions),
            _ => {}
        }
        for (key, entry) in world.store.entries() {
            if entry.value.passed.is_some() {
                actions.push(Action::Tell(w, *key));
            }
            let Some(held) = entry.value.held else { continue };
            if self.is_orphan_beside(world, w, &held) {
                actions.push(Action::FreeBeside(w, *key));
            }
        }
    }

    /// Ticks that find a run of this process.
    fn of_own_lock(&self, worker: &Worker, w: usize, held: &cast::HeldRef, actions: &mut Vec<Action>) {
        let run = worker.runs.iter().find(|run| run.held.run == held.run);
        let executes = match run {
            Some(run) if run.phase != Phase::Executing => Executes::NoMore,
            _ => Executes::Yes,
        };
        let mine = held.session == cast::revision(cast::session_revision(w, worker.session));
        let merges = self.merge && mine && run.is_some_and(|run| run.phase == Phase::Ended);
        for n in 1..=self.ticks {
            match self.verdict(n, When::OnTime, Sight::Own(*held, executes)) {
                Verdict::Skip(_) => actions.push(Action::Skip(w, n)),
                Verdict::Follow { next, .. } if merges && self.may_follow(held, next) => {
                    actions.push(Action::FinishAndClaim(w, n));
                }
                _ => {}
            }
        }
    }

    fn of_free_lock(&self, world: &World, w: usize, fence: N, actions: &mut Vec<Action>) {
        let late = self.past_deadline.then_some(When::PastItsDeadline);
        for when in [When::OnTime].into_iter().chain(late) {
            let catches_up =
                |n: &N| matches!(self.verdict(*n, when, Sight::Free(fence)), Verdict::CatchUp(_));
            actions.extend((1..=self.ticks).filter(catches_up).map(|n| Action::CatchUp(w, n, when)));
        }
        for (key, entry) in world.store.entries() {
            if let Some(wanted) = &entry.value.wanted {
                actions.push(Action::Take(w, *key, wanted.run));
            }
        }
    }

    fn of_held_lock(&self, world: &World, w: usize, held: &cast::HeldRef, actions: &mut Vec<Action>) {
        let worker = &world.workers[w];
        if worker.view == 0 && !self.rules.keep(Rule::DeletedJobHasACaretaker) {
            return;
        }
        let by_name = !self.rules.keep(Rule::SessionNotName);
        let my_name = cast::worker_of(&held.worker) == w;
        let mine = my_name && held.session == cast::revision(cast::session_revision(w, worker.session));
        let executed_here = worker.runs.iter().any(|run| run.held.run == held.run);
        let gone = if by_name {
            world.store.session(cast::worker_of(&held.worker)) == 0
        } else {
            world.is_gone(held)
        };
        let is_own = mine || by_name && my_name;
        if is_own && executed_here {
            return;
        }
        let named = if is_own {
            HolderLife::Me
        } else if gone {
            HolderLife::Gone
        } else {
            HolderLife::Other
        };
        match Orphan::of(named) {
            Some(Orphan::Phantom) => {
                actions.push(Action::Release(w));
                if !held.is_without_run() {
                    actions.push(Action::TakeUp(w));
                }
            }
            Some(Orphan::Gone) => actions.push(Action::TakeOver(w)),
            None => {}
        }
    }

    fn is_orphan_beside(&self, world: &World, w: usize, held: &cast::HeldRef) -> bool {
        let worker = &world.workers[w];
        let mine = cast::worker_of(&held.worker) == w
            && held.session == cast::revision(cast::session_revision(w, worker.session));
        let phantom = mine && !worker.runs.iter().any(|run| run.held.run == held.run);
        let named = if world.is_gone(held) {
            HolderLife::Gone
        } else if phantom && self.rules.keep(Rule::PhantomBeside) {
            HolderLife::Me
        } else {
            HolderLife::Other
        };
        Orphan::of(named).is_some()
    }

    fn of_managers(&self, world: &World, actions: &mut Vec<Action>) {
        let left = &world.left;
        let exists = world.store.definition() != 0;
        if left.saves > 0 {
            let decided = world.past.decided.last();
            if self.rules.keep(Rule::ManagerClock) {
                actions.extend((decided..=self.ticks.min(decided + 1)).map(Action::Save));
            } else {
                actions.extend((0..=self.ticks).map(Action::Save));
            }
        }
        if left.edits > 0 && exists {
            actions.push(Action::Edit);
        }
        if left.deletes > 0 && exists {
            let decided = world.past.decided.last();
            actions.extend((decided..=self.ticks.min(decided + 1)).map(Action::Delete));
        }
        if left.asked > 0 && exists {
            actions.push(Action::RunNow);
        }
    }

    /// Where the job's runs are claimed.
    pub const fn place(&self) -> Place {
        self.place
    }
}
