//! What each step does. What workers and managers make of what they see is decided by their own functions (`look.rs`,
//! `manager::change::decision`).

use common::{
    lock::{HeldLock, Lock},
    run::{Cause, RunState},
};
use manager::change::decision::{Counts, StandingLock, lock_after, lock_after_delete, passed};
use worker::{
    claim::{Orphan, Place},
    tick::verdict::Verdict,
};

use crate::{
    Met, Model,
    action::{Action, Reply},
    cast::{self, HeldRef, KeyRef, LockView, N, Rev},
    interned::Memo,
    look::{Executes, Sight, When},
    request::{Actor, CaughtUp, Claimed, LockFate, Request, Ticks, claimed},
    rules::Rule,
    store::Result,
    world::{Answer, Ask, Holding, Phase, Running, World, register},
};

impl Model {
    /// Does a step.
    pub fn take_step(&self, world: &mut World, action: Action) {
        match action {
            Action::Claim(w, n) => self.claim(world, w, n),
            Action::CatchUp(w, n, when) => self.catch_up(world, w, n, when),
            Action::Skip(w, n) => self.skip(world, w, n),
            Action::End(w, at, phase) => {
                let run = &mut world.workers[w].runs[at];
                run.phase = phase;
                record_run(world, w, at);
            }
            Action::Finish(w, at) => self.finish(world, w, at),
            Action::FinishAndClaim(w, n) => finish_and_claim(world, w, n),
            Action::TakeOver(w) => self.free(world, w, Orphan::Gone),
            Action::Release(w) => self.free(world, w, Orphan::Phantom),
            Action::TakeUp(w) => {
                let Some((LockView::Held(held), revision)) = world.store.lock() else { return };
                self.met(Met::TookUp);
                self.start(world, w, held, revision, Place::Lock);
            }
            Action::Take(w, key, _) => self.take(world, w, key),
            Action::FreeBeside(w, key) => self.free_beside(world, w, key),
            Action::Tell(w, key) => tell(world, w, key),
            Action::Watch(w) => world.workers[w].view = world.store.definition(),
            Action::Deliver(w, reply) => self.deliver(world, w, reply),
            Action::Receive(w) => {
                let Some(Ask { request, answer: Some(answer) }) = world.workers[w].ask.take() else { return };
                self.receive(world, w, request, &answer);
            }
            Action::Drift(at) => {
                let request = world.adrift.remove(at);
                let answer = self.apply(world, request);
                if matches!(answer, Answer::Done(done, _) if done.succeeded) {
                    self.met(Met::DoneAdrift);
                }
            }
            Action::Save(_) | Action::Edit | Action::Delete(_) | Action::RunNow => self.manage(world, action),
            other => self.happen(world, other),
        }
        let rules = self.rules;
        let store = &world.store;
        world.adrift.retain(|request| request.prepared(rules).txn.may_succeed(store));
        world.adrift.sort_unstable();
        world.adrift.dedup();
    }

    /// Processes and leases.
    fn happen(&self, world: &mut World, action: Action) {
        match action {
            Action::Crash(w) => {
                world.left.crashes -= 1;
                let worker = &mut world.workers[w];
                worker.up = false;
                worker.trusted = false;
                worker.orphan = worker.runs.iter().any(|run| run.phase == Phase::Executing);
                worker.runs.clear();
                worker.holding = None;
                if let Some(Ask { request, answer: None }) = worker.ask.take() {
                    world.adrift.push(request);
                }
            }
            Action::GuardKills(w) => world.workers[w].orphan = false,
            Action::Restart(w) => {
                let definition = world.store.definition();
                let worker = &mut world.workers[w];
                worker.up = true;
                worker.orphan &= !self.rules.keep(Rule::KilledBeforeRevoked);
                worker.view = definition;
            }
            Action::CutOff(w) => {
                world.left.cut_offs -= 1;
                world.workers[w].trusted = false;
            }
            Action::Expire(w) => {
                world.store.delete(cast::worker_key(w));
            }
            Action::Register(w) => {
                if world.store.session(w) != 0 {
                    self.met(Met::RegisteredOverOldLease);
                }
                let worker = &mut world.workers[w];
                worker.session += 1;
                worker.trusted = true;
                let session = worker.session;
                register(&mut world.store, w, session);
            }
            _ => unreachable!("done elsewhere"),
        }
    }

    /// Does a request in the store, and keeps account of what it decided.
    fn apply(&self, world: &mut World, request: Request) -> Answer {
        let rules = self.rules;
        let prepared = request.prepared(rules);
        let at = world.new_revision(|request| &request.prepared(rules).revisions);
        let before = world.store.lock().map(|(lock, _)| lock.fence());
        let definition = world.store.definition();
        let done = world.store.apply(&prepared.txn, at, request.comparing(rules));
        let after = world.store.lock().map(|(lock, _)| lock.fence());
        let after = match request {
            Request::Delete { now, .. } if done.succeeded => Some(now),
            _ => after,
        };
        // A job that is made again has no ticks before that.
        let is_new = request.is_managers() && definition == 0;
        if let (Some(before), Some(after)) = (before, after)
            && !is_new
            && after > before
        {
            world.past.decided.extend(before + 1..=after);
            world.past.outdated |= request.definition().is_some_and(|by| by != definition);
        }
        match (request.guard(), done.succeeded) {
            (None, _) => Answer::Done(done, at),
            (Some(_), false) => Answer::SessionGone,
            (Some(_), true) => match done.results.into_iter().next() {
                Some(Result::Txn(inner)) => Answer::Done(inner, at),
                _ => unreachable!("a guard has one transaction under it"),
            },
        }
    }

    fn deliver(&self, world: &mut World, w: usize, reply: Reply) {
        let Some(request) = world.workers[w].ask.as_ref().map(|ask| ask.request) else { return };
        let answer = self.apply(world, request);
        match reply {
            Reply::Lost => world.left.lost -= 1,
            Reply::Late => {
                world.left.late -= 1;
                world.workers[w].ask = Some(Ask { request, answer: Some(answer) });
            }
            Reply::AtOnce | Reply::Copied => {
                world.workers[w].ask = None;
                if reply == Reply::Copied {
                    world.left.copies -= 1;
                    world.adrift.push(request);
                }
                self.receive(world, w, request, &answer);
            }
        }
    }

    /// The worker goes on with an answer.
    fn receive(&self, world: &mut World, w: usize, request: Request, answer: &Answer) {
        let Answer::Done(done, at) = answer else { return };
        let won = |sent| match claimed(done, *at, sent) {
            Claimed::Won(found, at) if self.rules.keep(Rule::HeldAsFound) => Some((found, at)),
            Claimed::Won(_, at) => Some((sent, at)),
            Claimed::Lost => None,
        };
        match request {
            Request::Claim { held, place, .. } => {
                if let Some((held, revision)) = won(held) {
                    self.start(world, w, held, revision, place);
                }
            }
            Request::CatchUp { held, leaves, .. } => {
                if let Some((held, revision)) = won(held) {
                    self.met(Met::CaughtUp);
                    self.caught_up(world, w, held, leaves, revision);
                }
            }
            Request::Take { held, place, .. } => {
                if let Some((held, revision)) = won(held) {
                    self.met(Met::Took);
                    self.start(world, w, held, revision, place);
                }
            }
            Request::FinishAndClaim { held, .. } => {
                if let Some((held, revision)) = won(held) {
                    self.met(Met::Merged);
                    let ended = world.workers[w].holding.take();
                    let ended = ended.map(|ended| ended.held.run);
                    world.workers[w].runs.retain(|run| Some(run.held.run) != ended);
                    self.start(world, w, held, revision, Place::Lock);
                }
            }
            Request::Skip { from, to, .. } => {
                if done.succeeded {
                    self.met(Met::Skipped);
                    world.workers[w].holding = Some(Holding { held: to, revision: *at });
                    world.past.skipped.extend(cast::number(from.fence) + 1..=cast::number(to.fence));
                } else if let Some(here) = still_mine(done.lock(), &from) {
                    if here.held.last_skip == to.last_skip && self.rules.keep(Rule::LostSkipIsRecorded) {
                        self.met(Met::SkippedUnheard);
                        let to = cast::number(to.fence);
                        world.past.skipped.extend(cast::number(from.fence) + 1..=to);
                    }
                    world.workers[w].holding = Some(here);
                }
            }
            Request::Finish { held, .. } => {
                let worker = &mut world.workers[w];
                let adopted = if done.succeeded { None } else { still_mine(done.lock(), &held) };
                worker.holding = adopted;
                if adopted.is_none() {
                    worker.runs.retain(|run| run.held.run != held.run || run.phase == Phase::Executing);
                }
            }
            Request::EndBeside { held, .. } => {
                world.workers[w].runs.retain(|run| run.held.run != held.run);
            }
            Request::TakeOver { orphan, .. } if done.succeeded => {
                self.met(if orphan == Orphan::Phantom { Met::Released } else { Met::TookOver });
            }
            Request::FreeBeside { .. } if done.succeeded => self.met(Met::FreedBeside),
            Request::Told { .. } if done.succeeded => self.met(Met::Told),
            _ => {}
        }
    }

    fn caught_up(&self, world: &mut World, w: usize, held: HeldRef, leaves: CaughtUp, revision: Rev) {
        let missed = held.missed.iter().flat_map(|ticks| cast::number(ticks.from)..=cast::number(ticks.to));
        let missed: Vec<N> = missed.collect();
        match leaves {
            CaughtUp::Run(place) => {
                self.start(world, w, held, revision, place);
                world.past.missed.extend(missed);
            }
            CaughtUp::Queue => self.start(world, w, held, revision, Place::Lock),
            CaughtUp::Nothing => {
                world.past.missed.extend(missed);
                if self.rules.keep(Rule::MissedBeforeTheFence) {
                    world.workers[w].holding = Some(Holding { held, revision });
                    world.workers[w].runs.push(Running { held, phase: Phase::Ended, record: 0 });
                }
            }
        }
    }

    /// A claim is won: a last look, then the run starts.
    fn start(&self, world: &mut World, w: usize, held: HeldRef, revision: Rev, place: Place) {
        let worker = &mut world.workers[w];
        if place == Place::Lock {
            worker.holding = Some(Holding { held, revision });
        }
        let session = cast::revision(cast::session_revision(w, worker.session));
        let mine = held.session == session || !self.rules.keep(Rule::SessionNotName);
        let withdrawn = !worker.trusted || !mine || worker.view == 0;
        let phase = if withdrawn { Phase::Ended } else { Phase::Executing };
        let record = if place == Place::Beside { revision } else { 0 };
        worker.runs.push(Running { held, phase, record });
        let at = worker.runs.len() - 1;
        if withdrawn {
            self.met(Met::Withdrawn);
            record_run(world, w, at);
            return;
        }
        let Some(n) = held.tick.map(cast::number) else { return };
        let past = &mut world.past;
        past.twice |= if held.attempt == 1 { past.ran.add(n) } else { past.retried.add(n) };
        if held.attempt == 2 {
            self.met(Met::Retried);
        }
    }

    fn claim(&self, world: &mut World, w: usize, n: N) {
        let by = world.actor(w);
        let run = world.new_run(by, n);
        let held = cast::held(cast::claimed(w, by.session, n, run, Some(n), Cause::Schedule));
        let definition = world.workers[w].view;
        let Verdict::Claim { previous } = self.verdict(n, When::OnTime, Sight::Unread) else { return };
        let previous = cast::number(*previous);
        ask(world, w, Request::Claim { by, held, previous, definition, place: self.place() });
    }

    fn catch_up(&self, world: &mut World, w: usize, n: N, when: When) {
        let Some((LockView::Free(fence), seen)) = world.store.lock() else { return };
        let Verdict::CatchUp(catch_up) = self.verdict(n, when, Sight::Free(fence)) else { return };
        let leaves = match (catch_up.runs, catch_up.queued.as_slice()) {
            (None, _) => CaughtUp::Nothing,
            (Some(_), []) => CaughtUp::Run(self.place()),
            (Some(_), queued) => {
                let all = queued.iter().rev().copied().map(cast::number);
                assert!(all.eq(fence + 1..n), "with misfire policy all every missed tick waits");
                CaughtUp::Queue
            }
        };
        let by = world.actor(w);
        let run = world.new_run(by, n);
        let tick = catch_up.runs.map(|_| n);
        let cause = catch_up.runs.unwrap_or(Cause::CatchUp);
        let held = catch_up.named_in(cast::claimed(w, by.session, n, run, tick, cause));
        let definition = world.workers[w].view;
        let held = cast::held(held);
        ask(world, w, Request::CatchUp { by, held, fence, seen, definition, leaves });
    }

    fn finish(&self, world: &mut World, w: usize, at: usize) {
        let worker = &world.workers[w];
        let run = worker.runs[at];
        let retry = run.phase == Phase::Failed && self.is_tried_again(&run.held, RunState::Failed);
        match worker.holding {
            Some(here) if here.held.run == run.held.run => {
                ask(world, w, Request::Finish { held: here.held, seen: here.revision, retry });
            }
            _ if self.place() == Place::Beside => {
                ask(world, w, Request::EndBeside { held: run.held, seen: run.record, retry });
            }
            _ => {
                let runs = &mut world.workers[w].runs;
                if runs[at].phase != Phase::Executing {
                    runs.remove(at);
                }
            }
        }
    }

    /// Frees a lock that nobody's run holds any more: the record first.
    fn free(&self, world: &mut World, w: usize, orphan: Orphan) {
        let Some((LockView::Held(held), seen)) = world.store.lock() else { return };
        self.record_lost(world, &held);
        let retry = held.attempt == 1 && held.tick.is_some() && self.is_tried_again(&held, RunState::Lost);
        let by = world.actor(w);
        ask(world, w, Request::TakeOver { by, held, seen, retry, orphan });
    }

    fn record_lost(&self, world: &mut World, held: &HeldLock) {
        let past = &mut world.past;
        past.recorded.extend(held.tick.map(cast::number));
        let fence = cast::number(held.fence);
        if let Some(last) = &held.last_skip {
            let count = N::try_from(last.count).expect("few ticks");
            let all = self.rules.keep(Rule::AllSkipsAreTakenOver);
            past.skipped.extend(match (all, self.rules.keep(Rule::SkipsAreNamed)) {
                (true, true) => cast::number(last.from)..=cast::number(last.to),
                (true, false) => fence + 1 - count..=fence,
                (false, _) => fence..=fence,
            });
        }
        if let Some(missed) = held.missed.as_ref().filter(|_| self.rules.keep(Rule::MissedIsTakenOver)) {
            past.missed.extend(cast::number(missed.from)..=cast::number(missed.to));
        }
    }

    fn take(&self, world: &mut World, w: usize, key: KeyRef) {
        let Some((LockView::Free(fence), seen)) = world.store.lock() else { return };
        let Some(entry) = world.store.get(key).copied() else { return };
        let Some(wanted) = &entry.value.wanted else { return };
        let by = world.actor(w);
        let tick = wanted.tick.map(cast::number);
        let held = cast::held(cast::claimed(w, by.session, fence, wanted.run, tick, wanted.cause));
        let place = self.place();
        let definition = world.workers[w].view;
        ask(world, w, Request::Take { by, held, seen, fence, wanted: entry.written, place, definition });
    }

    fn free_beside(&self, world: &mut World, w: usize, key: KeyRef) {
        let Some(entry) = world.store.get(key).copied() else { return };
        let Some(held) = entry.value.held else { return };
        if world.workers[w].view != 0 || self.rules.keep(Rule::DeletedJobHasACaretaker) {
            self.record_lost(world, &held);
        }
        let orphan = if world.is_gone(&held) { Orphan::Gone } else { Orphan::Phantom };
        let retry =
            held.attempt == 1 && world.workers[w].view != 0 && self.is_tried_again(&held, RunState::Lost);
        ask(world, w, Request::FreeBeside { held, seen: entry.written, retry, orphan });
    }
}

impl Model {
    fn skip(&self, world: &mut World, w: usize, n: N) {
        let Some(here) = world.workers[w].holding else { return };
        let Verdict::Skip(to) = self.verdict(n, When::OnTime, Sight::Own(here.held, Executes::Yes)) else {
            return;
        };
        // Tokens are left out: a revision in a value would make each one another.
        let to = cast::held(HeldLock { claim_revision: None, ..(**to).clone() });
        let definition = world.workers[w].view;
        ask(world, w, Request::Skip { from: here.held, to, seen: here.revision, definition });
    }
}

fn ask(world: &mut World, w: usize, request: Request) {
    world.workers[w].ask = Some(Ask { request, answer: None });
}

fn finish_and_claim(world: &mut World, w: usize, n: N) {
    let Some(here) = world.workers[w].holding else { return };
    let by = world.actor(w);
    let run = world.new_run(by, n);
    let held = cast::held(cast::claimed(w, by.session, n, run, Some(n), Cause::Schedule));
    let definition = world.workers[w].view;
    ask(world, w, Request::FinishAndClaim { by, held, seen: here.revision, definition });
}

/// A run's record is on the worker's disk.
fn record_run(world: &mut World, w: usize, at: usize) {
    let tick = world.workers[w].runs[at].held.tick;
    world.past.recorded.extend(tick.map(cast::number));
}

/// The lock as somebody else wrote it, if it still names this run.
fn still_mine(found: Option<(LockView, Rev)>, mine: &HeldLock) -> Option<Holding> {
    match found {
        Some((LockView::Held(held), revision)) if held.run == mine.run && held.session == mine.session => {
            Some(Holding { held, revision })
        }
        _ => None,
    }
}

/// What names passed ticks goes on record first; then it is removed.
fn tell(world: &mut World, w: usize, key: KeyRef) {
    let Some(entry) = world.store.get(key).copied() else { return };
    let Some(passed) = &entry.value.passed else { return };
    world.past.missed.extend(cast::number(passed.ticks.from)..=cast::number(passed.ticks.to));
    ask(world, w, Request::Told { key, seen: entry.written });
}

impl Model {
    /// A manager reads what there is, and sends a change under the compare of what it read.
    fn manage(&self, world: &mut World, action: Action) {
        let job = world.store.definition();
        let lock = standing_lock(world);
        let seen = world.store.get(cast::lock_key()).map_or(0, |entry| entry.written);
        let request = match action {
            Action::Save(now) => {
                world.left.saves -= 1;
                let after = lock_after(&lock, cast::tick(now), Counts::FromNow, None).expect("a known form");
                Request::Save {
                    job,
                    seen,
                    lock: LockFate::of(&after),
                    passed: self.passed(world, &lock, now),
                }
            }
            Action::Edit => {
                world.left.edits -= 1;
                // A lock that stays is not compared, and says nothing of the instant.
                let fence = lock.fence().expect("a job has its lock");
                let after = lock_after(&lock, fence, Counts::AsBefore, None).expect("a known form");
                Request::Save { job, seen: 0, lock: LockFate::of(&after), passed: None }
            }
            Action::Delete(now) => {
                world.left.deletes -= 1;
                let after = LockFate::of(&lock_after_delete(&lock, cast::tick(now)));
                Request::Delete { job, now, seen, lock: after, passed: self.passed(world, &lock, now) }
            }
            _ => {
                world.left.asked -= 1;
                let by = Actor { worker: 0, session: 0 };
                Request::RunNow { job, run: cast::run_id(by.worker, by.session, 7, world.left.asked) }
            }
        };
        world.adrift.push(request);
    }

    /// The ticks that nobody has decided by this instant.
    fn passed(&self, world: &World, lock: &StandingLock, now: N) -> Option<Ticks> {
        static ALL: Memo<(N, N), Option<Ticks>> = Memo::new();
        if world.store.definition() == 0 || !self.rules.keep(Rule::PassedIsNamed) {
            return None;
        }
        *ALL.get((cast::number(lock.fence()?), now), |_| {
            let ticks = passed(cast::stored_job(), lock, cast::tick(now), "")?.ticks;
            Some((cast::number(ticks.from), cast::number(ticks.to)))
        })
    }
}

fn standing_lock(world: &World) -> StandingLock {
    match world.store.lock().map(|(lock, at)| (lock.real(), at)) {
        None => StandingLock::Absent,
        Some((Lock::Free(free), _)) => StandingLock::Free(free),
        Some((Lock::Held(held), at)) => StandingLock::Held(held, cast::revision(at)),
    }
}
