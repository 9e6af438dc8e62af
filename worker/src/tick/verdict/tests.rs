//! Verdicts by cases. The job has a tick each second; seconds are counted from the one at which its lock was made.

use std::sync::Arc;

use common::{
    epoch::Epoch,
    job::{Command, Exec, Job, MisfirePolicy, Trigger},
    lock::{ClaimedCommand, FreeLock, Holder},
    queue::QueuedRun,
    revision::Revision,
    run::Cause,
    span::Span,
};
use proptest::prelude::*;

use super::*;

fn tick(second: i64) -> Tick {
    Tick::from_instant(DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap())
}

fn second(tick: Tick) -> i64 {
    tick.seconds() - 1_800_000_000
}

fn planned(edit: impl FnOnce(&mut Job)) -> Planned {
    let trigger = Trigger::Every { period: Span::seconds(1), anchor: Some(tick(0).instant()) };
    let mut job = Job::new("a".parse().unwrap(), trigger, Command::Exec(Exec::default()));
    edit(&mut job);
    let schedule = job.schedule().unwrap();
    let revision = Revision::new(1);
    Planned { job: Arc::new(job), revision, created: revision, schedule, paused: false }
}

fn free(fence: i64) -> StoredFreeLock {
    StoredFreeLock { free: FreeLock { fence: tick(fence), last: None }, revision: Revision::new(9) }
}

fn own(fence: i64) -> OwnLock {
    let run = "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b".parse().unwrap();
    let wanted = QueuedRun::new("a".parse().unwrap(), run, Cause::Schedule, tick(fence).instant());
    let holder = Holder { worker: "w".parse().unwrap(), session: Revision::new(5), epoch: Epoch::default() };
    let command = ClaimedCommand::of("date");
    let held = HeldLock::new(&wanted, tick(fence), holder, tick(fence).instant(), command);
    OwnLock { held, revision: Revision::new(9) }
}

/// The verdict on the tick of second 10 that is looked at so long after it.
fn after(ms: i64, planned: &Planned, lock: Sight<'_>) -> Verdict {
    let due = Due {
        job: Arc::new(Planned { job: planned.job.clone(), schedule: planned.schedule.clone(), ..*planned }),
        tick: tick(10),
        previous: tick(9),
    };
    let now = tick(10).instant() + Duration::milliseconds(ms);
    verdict(&Look { due: &due, planned: Some(planned), now, lead: Duration::milliseconds(2), lock })
}

fn follow(run: Ahead) -> Verdict {
    let next = Next { tick: tick(10), previous: tick(9), definition: Revision::new(1) };
    Verdict::Follow { next, run }
}

#[test]
fn a_tick_is_claimed_when_it_is_due_and_found_decided_behind_the_fence() {
    let plain = planned(|_| {});
    assert_eq!(after(0, &plain, Sight::Unread), Verdict::Claim { previous: tick(9) });
    assert_eq!(after(-500, &plain, Sight::Unread), Verdict::Claim { previous: tick(9) });
    assert_eq!(after(-5_000, &plain, Sight::Unread), Verdict::Decided, "a clock that was set back");
    assert_eq!(after(6_000, &plain, Sight::Unread), Verdict::Claim { previous: tick(10) }, "late");
    assert_eq!(after(0, &plain, Sight::Absent), Verdict::Create);
    for fence in [10, 11] {
        assert_eq!(after(0, &plain, Sight::Free(&free(fence))), Verdict::Decided);
        assert_eq!(after(0, &plain, Sight::Held(&own(fence).held)), Verdict::Decided);
    }
    assert_eq!(after(0, &plain, Sight::Free(&free(9))), Verdict::Later, "another definition");
    assert_eq!(after(0, &plain, Sight::Held(&own(9).held)), Verdict::AskForHolder);
    let paused = Planned { paused: true, ..planned(|_| {}) };
    assert_eq!(after(0, &paused, Sight::Unread), Verdict::Decided);
    let due = Due { job: Arc::new(planned(|_| {})), tick: tick(10), previous: tick(9) };
    let now = tick(10).instant();
    let gone = Look { due: &due, planned: None, now, lead: Duration::zero(), lock: Sight::Unread };
    assert_eq!(verdict(&gone), Verdict::Decided);
    let edited = planned(|job| job.trigger = Trigger::Manual);
    assert_eq!(verdict(&Look { planned: Some(&edited), ..gone }), Verdict::Decided);
}

#[test]
fn a_tick_that_finds_its_own_run_waits_for_it_or_does_what_its_job_says() {
    let of = |overlap| planned(|job| job.overlap = overlap);
    let here = own(9);
    let sight = |ended| Sight::Own { lock: &here, since: here.held.claimed, ended };
    for overlap in [Overlap::Skip, Overlap::QueueOne, Overlap::Replace, Overlap::Allow] {
        let job = of(overlap);
        assert_eq!(after(-1, &job, sight(false)), follow(Ahead::MayEnd));
        assert_eq!(after(0, &job, sight(true)), follow(Ahead::HasEnded));
        let decided = Sight::Own { lock: &own(10), since: here.held.claimed, ended: false };
        assert_eq!(after(0, &job, decided), Verdict::Decided);
    }
    assert_eq!(after(0, &of(Overlap::Replace), sight(false)), follow(Ahead::IsEnded));
    let Verdict::Skip(to) = after(0, &of(Overlap::Skip), sight(false)) else { panic!("not skipped") };
    assert_eq!((to.fence, to.skipped, to.claim_revision), (tick(10), 1, Some(Revision::new(9))));
    let verdict = after(0, &of(Overlap::QueueOne), sight(false));
    let Verdict::Wait { to, skipped } = verdict else { panic!("does not wait") };
    assert_eq!((to.fence, to.last_skip), (tick(10), None), "it is not skipped");
    let skipped = skipped.last_skip.unwrap();
    assert_eq!((skipped.to, skipped.why), (tick(10), Why::OneWaits));
}

/// The verdict on the tick of second 10, with the fence so far behind.
fn caught_up(fence: i64, ms: i64, edit: impl FnOnce(&mut Job)) -> CatchUp {
    match after(ms, &planned(edit), Sight::Free(&free(fence))) {
        Verdict::CatchUp(catch_up) => catch_up,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_missed_runs_or_goes_on_record_as_the_misfire_policy_says() {
    let policy = |policy, limit, deadline| {
        move |job: &mut Job| {
            job.misfire.policy = policy;
            job.misfire.limit = limit;
            job.misfire.deadline = Span::seconds(deadline);
        }
    };
    let told = |catch_up: CatchUp| {
        let missed = catch_up.missed.iter().map(|one| (second(one.from), second(one.to)));
        let queued = catch_up.queued.iter().map(|tick| second(*tick));
        (catch_up.runs, missed.collect::<Vec<_>>(), queued.collect::<Vec<_>>())
    };
    use {Cause as C, MisfirePolicy as M};
    for (name, fence, ms, edit, wanted) in [
        ("on time", 6, 0, policy(M::Latest, 10, 60), (Some(C::Schedule), vec![(7, 9)], vec![])),
        (
            "on time, and none to catch up",
            6,
            0,
            policy(M::Skip, 10, 60),
            (Some(C::Schedule), vec![(7, 9)], vec![]),
        ),
        ("late", 6, 6_000, policy(M::Latest, 10, 60), (Some(C::CatchUp), vec![(7, 9)], vec![])),
        ("late, nothing before it", 9, 6_000, policy(M::Latest, 10, 60), (Some(C::CatchUp), vec![], vec![])),
        ("late, and skipped", 6, 6_000, policy(M::Skip, 10, 60), (None, vec![(7, 10)], vec![])),
        ("past the deadline", 6, 61_000, policy(M::Latest, 10, 60), (None, vec![(7, 10)], vec![])),
        ("all", 6, 6_000, policy(M::All, 10, 60), (Some(C::CatchUp), vec![], vec![9, 8, 7])),
        ("all, to a limit", 6, 6_000, policy(M::All, 3, 60), (Some(C::CatchUp), vec![(7, 7)], vec![9, 8])),
        (
            "all, within the deadline",
            6,
            6_000,
            policy(M::All, 10, 7),
            (Some(C::CatchUp), vec![(7, 8)], vec![9]),
        ),
    ] {
        assert_eq!(told(caught_up(fence, ms, edit)), wanted, "{name}");
    }
}

proptest! {
    /// Each tick behind the fence, up to and with the one that is decided, gets exactly one outcome.
    #[test]
    fn no_tick_is_lost_and_none_has_two_outcomes(
        fence in 0..9i64,
        ms in 0..20_000i64,
        policy in prop_oneof![
            Just(MisfirePolicy::Skip), Just(MisfirePolicy::Latest), Just(MisfirePolicy::All)
        ],
        limit in 1..12u32,
        deadline in 1..20u32,
    ) {
        let job = planned(|job| {
            job.misfire.policy = policy;
            job.misfire.limit = limit;
            job.misfire.deadline = Span::seconds(deadline.into());
        });
        let lock = free(fence);
        let Verdict::CatchUp(catch_up) = after(ms, &job, Sight::Free(&lock)) else {
            // In order, and not late.
            prop_assert!(fence == 9 && ms <= 5_000);
            return Ok(());
        };
        let mut seen: Vec<i64> = catch_up.queued.iter().map(|tick| second(*tick)).collect();
        seen.extend(catch_up.runs.map(|_| 10));
        for stretch in &catch_up.missed {
            let ticks = second(stretch.from)..=second(stretch.to);
            prop_assert_eq!(u64::try_from(ticks.clone().count()).unwrap(), stretch.count);
            seen.extend(ticks);
        }
        seen.sort_unstable();
        prop_assert_eq!(seen, (fence + 1..=10).collect::<Vec<_>>());
    }

    /// So does each tick that a run of this process stands in the way of.
    #[test]
    fn what_is_passed_by_a_skip_is_named_once(fence in 0..9i64, since in 0..12_000i64) {
        let here = own(fence);
        let since = tick(0).instant() + Duration::milliseconds(since);
        let sight = Sight::Own { lock: &here, since, ended: false };
        let Verdict::Skip(to) = after(0, &planned(|_| {}), sight) else { panic!("not skipped") };
        let named = to.without_run().flat_map(|(ticks, _, _)| second(ticks.from)..=second(ticks.to));
        let mut named: Vec<i64> = named.collect();
        named.sort_unstable();
        prop_assert_eq!(named, (fence + 1..=10).collect::<Vec<_>>());
    }
}
