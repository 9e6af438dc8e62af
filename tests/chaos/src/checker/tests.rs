//! Each fault is planted in a world where all is well, and has to be found: it, and nothing else.

use common::{lock::Lock, runlog::Author};

use super::*;

const NOON: i64 = 1_795_348_800;

fn tick(second: i64) -> Tick {
    Tick::from_instant(chrono::DateTime::from_timestamp(NOON + second, 0).unwrap())
}

fn line(mark: Mark, second: i64) -> Line {
    Line {
        mark,
        job: "a".into(),
        tick: Some(tick(second)),
        attempt: 1,
        fence: 100 + second,
        worker: "w1".into(),
        run: format!("r{second}"),
        at_ms: tick(second).millis() + 3,
    }
}

fn row(second: i64) -> RunRow {
    let planned = tick(second).millis();
    RunRow {
        job: "a".into(),
        run: format!("r{second}"),
        attempt: 1,
        tick: Some(tick(second)),
        state: RunState::Succeeded,
        reason: String::new(),
        trigger: Cause::Schedule,
        worker: "w1".into(),
        by: Author::Worker,
        fence: 100 + second,
        planned_ms: planned,
        claimed_ms: planned + 1,
        started_ms: planned + 2,
        ended_ms: planned + 4,
        exit_code: Some(0),
        truncated: 0,
    }
}

fn stretch(from: i64, to: i64, outcome: TickOutcome) -> TickRow {
    let (count, reason) = (to - from + 1, "the run before it executes".to_owned());
    TickRow { job: "a".into(), from: tick(from), to: tick(to), count, outcome, reason }
}

struct World {
    expected: Vec<Expectation>,
    windows: Vec<ChronosJob>,
    lines: Vec<Line>,
    records: Records,
    history: History,
    rules: Rules,
}

impl World {
    /// An every-second job over ten seconds, and all is well.
    fn well() -> Self {
        let expected = Expectation::new("a", 1, tick(0), tick(9));
        Self {
            expected: vec![expected],
            lines: (0..10).map(|second| line(Mark::Start, second)).collect(),
            records: Records { runs: (0..10).map(row).collect(), ticks: Vec::new() },
            windows: Vec::new(),
            history: History::default(),
            rules: Rules::default(),
        }
    }

    fn without(second: i64) -> Self {
        let mut world = Self::well();
        world.lines.retain(|line| line.tick != Some(tick(second)));
        world.records.runs.retain(|row| row.tick != Some(tick(second)));
        world
    }

    fn report(&self) -> Report {
        let (lines, records, history) = (self.lines.clone(), self.records.clone(), self.history.clone());
        let observed = Observed { lines, records, history, until_ms: tick(60).millis() };
        check(&self.expected, &self.windows, &observed, &self.rules)
    }

    /// The records tell what the lines do.
    fn follow(&mut self) {
        for row in &mut self.records.runs {
            let own =
                |line: &&Line| line.mark == Mark::Start && line.run == row.run && line.attempt == row.attempt;
            if let Some(line) = self.lines.iter().find(own) {
                (row.fence, row.worker) = (line.fence, line.worker.clone());
            }
        }
    }

    #[track_caller]
    fn finds_only(&self, kind: Kind) {
        let report = self.report();
        let found: Vec<_> = report.findings.keys().copied().collect();
        assert_eq!(found, [kind], "{report}");
        assert_eq!(report.violations().is_empty(), matches!(kind, Kind::Skipped | Kind::SkippedHeld));
    }
}

#[test]
fn a_world_where_all_is_well_has_no_findings() {
    let report = World::well().report();
    assert!(report.findings.is_empty(), "{report}");
    assert_eq!((report.expected, report.ran), (10, 10));
    assert_eq!((report.lateness.claim.permille(500), report.lateness.whole.max()), (1, 2));
    assert_eq!(report.lateness.truth.max(), 3);
}

#[test]
fn a_minutes_job_has_one_tick_a_minute() {
    let expected = Expectation::new("a", 60, tick(1), tick(120));
    assert_eq!(expected.ticks().collect::<Vec<_>>(), [NOON + 60, NOON + 120]);
}

#[test]
fn a_tick_that_ran_twice_is_found() {
    let mut world = World::well();
    let again = Line { run: "other".into(), fence: 104, worker: "w2".into(), ..line(Mark::Start, 4) };
    world.lines.insert(5, Line { fence: 105, ..again });
    world.lines[6..].iter_mut().for_each(|line| line.fence += 1);
    world.records.runs.push(RunRow { run: "other".into(), ..row(4) });
    world.follow();
    world.finds_only(Kind::Doubled);
}

#[test]
fn a_run_that_started_twice_is_found() {
    let mut world = World::well();
    world.lines.insert(5, line(Mark::Start, 4));
    world.finds_only(Kind::Doubled);
}

#[test]
fn a_tick_with_two_runs_in_the_log_is_found() {
    let mut world = World::well();
    let killed = RunRow { run: "other".into(), state: RunState::Killed, exit_code: None, ..row(4) };
    world.records.runs.insert(0, killed);
    world.finds_only(Kind::Doubled);
}

#[test]
fn a_run_that_is_on_record_twice_is_found() {
    let mut world = World::well();
    world.records.runs.push(row(4));
    world.finds_only(Kind::Doubled);
}

#[test]
fn a_fault_excuses_what_is_its_own_until_it_is_mended() {
    for (mended, found) in [(5, false), (3, true)] {
        let mut world = World::without(4);
        let mut fault = Fault::new("a restored store", NOON * 1000, tick(mended).millis());
        fault.excuses.insert(Kind::Gap);
        world.rules.faults = vec![fault];
        let Report { findings, .. } = check(
            &world.expected,
            &[],
            &Observed { lines: world.lines, records: world.records, ..Observed::default() },
            &world.rules,
        );
        assert_eq!(findings.contains_key(&Kind::Gap), found, "{findings:?}");
    }
}

#[test]
fn a_tick_without_run_and_outcome_is_found() {
    World::without(4).finds_only(Kind::Gap);
}

#[test]
fn a_missed_tick_is_found_and_can_be_tolerated() {
    let mut world = World::without(4);
    world.records.ticks.push(stretch(4, 4, TickOutcome::Missed));
    world.finds_only(Kind::Missed);
    world.rules.tolerated.insert(Kind::Missed);
    assert!(world.report().violations().is_empty());
}

#[test]
fn a_tick_skipped_because_its_job_ran_is_in_order() {
    let mut world = World::without(4);
    world.records.ticks.push(stretch(4, 4, TickOutcome::Skipped));
    world.records.runs[3].ended_ms = tick(4).millis() + 500;
    world.finds_only(Kind::Skipped);
    world.records.runs[3].ended_ms = tick(4).millis() - 500;
    world.finds_only(Kind::SkippedHeld);
}

#[test]
fn a_tick_that_a_retry_was_faster_than_is_in_order() {
    let mut world = World::without(4);
    world.records.ticks.push(stretch(4, 4, TickOutcome::Skipped));
    world.rules.release_ms = 0;
    let mut retry = world.records.runs[2].clone();
    (retry.attempt, retry.planned_ms) = (2, tick(4).millis() + 40);
    (retry.claimed_ms, retry.ended_ms) = (tick(4).millis() + 50, tick(4).millis() + 60);
    world.records.runs.push(retry);
    let found = world.report();
    assert!(found.findings.contains_key(&Kind::Skipped), "{found}");
    assert!(!found.findings.contains_key(&Kind::SkippedIdle), "{found}");
}

#[test]
fn a_tick_skipped_although_its_job_was_idle_is_found() {
    let mut world = World::without(4);
    world.records.ticks.push(stretch(4, 4, TickOutcome::Skipped));
    world.rules.release_ms = 500;
    world.finds_only(Kind::SkippedIdle);
}

#[test]
fn a_tick_that_ran_and_is_missed_as_well_is_found() {
    let mut world = World::well();
    world.records.ticks.push(stretch(4, 4, TickOutcome::Missed));
    world.finds_only(Kind::Contradiction);
}

#[test]
fn a_run_that_goes_on_beside_a_later_one_is_found() {
    let mut world = World::well();
    world.lines.insert(5, line(Mark::Beat, 3));
    world.finds_only(Kind::Overlap);
}

#[test]
fn a_run_that_a_worker_without_its_lease_keeps_may_go_on_beside_a_later_one_in_a_fault_only() {
    let mut world = World::well();
    world.lines.insert(5, line(Mark::Beat, 3));
    world.expected[0].keeps = true;
    world.finds_only(Kind::Overlap);
    let at = world.lines[5].at_ms;
    world.rules.faults.push(Fault::new("a worker is cut off", at - 500, at + 500));
    assert!(world.report().findings.is_empty());
    world.expected[0].keeps = false;
    world.finds_only(Kind::Overlap);
}

#[test]
fn a_run_that_is_said_to_have_succeeded_and_did_not_come_to_its_end_is_found() {
    let mut world = World::well();
    world.expected[0].says_end = true;
    world.lines = (0..10).flat_map(|second| [line(Mark::Start, second), line(Mark::End, second)]).collect();
    assert!(world.report().findings.is_empty());
    world.lines.retain(|line| line.mark == Mark::Start || line.tick != Some(tick(4)));
    world.finds_only(Kind::RecordWithoutLine);
    world.records.runs[4].state = RunState::Failed;
    world.finds_only(Kind::Unsuccessful);
}

#[test]
fn a_run_that_lasts_until_the_next_starts_is_in_order() {
    let mut world = World::well();
    world.lines.insert(4, line(Mark::Beat, 3));
    world.lines.insert(5, line(Mark::End, 3));
    assert!(world.report().findings.is_empty());
}

#[test]
fn a_start_before_its_tick_is_found() {
    let mut world = World::well();
    world.lines[4].at_ms = tick(4).millis() - 50;
    world.finds_only(Kind::Early);
    world.rules.ahead_ms = 1_000;
    assert!(world.report().findings.is_empty());
}

#[test]
fn an_older_fence_after_a_newer_one_is_found() {
    let mut world = World::well();
    world.lines[4].fence = 99;
    world.follow();
    world.finds_only(Kind::StaleFence);
    let at = world.lines[4].at_ms;
    let mut stop = Fault::new("a worker is stopped", at - 500, at + 500);
    stop.excuses.insert(Kind::StaleFence);
    world.rules.faults.push(stop);
    let report = world.report();
    assert!(report.findings.is_empty(), "{report}");
    (world.rules.faults[0].from_ms, world.rules.faults[0].to_ms) = (at + 5_000, at + 6_000);
    world.finds_only(Kind::StaleFence);
}

#[test]
fn a_tick_that_is_not_on_the_schedule_is_found() {
    let mut world = World::well();
    world.expected[0].every_seconds = 2;
    world.lines.retain(|line| line.tick.is_none_or(|at| at.seconds() % 2 == 0 || at == tick(5)));
    world.records.runs.retain(|row| row.tick.is_none_or(|at| at.seconds() % 2 == 0 || at == tick(5)));
    world.finds_only(Kind::Stray);
}

#[test]
fn a_run_that_the_log_does_not_know_is_found() {
    let mut world = World::well();
    world.records.runs.remove(4);
    world.finds_only(Kind::LineWithoutRecord);
}

#[test]
fn a_record_of_a_run_that_never_was_is_found() {
    let mut world = World::well();
    world.lines.remove(4);
    world.finds_only(Kind::RecordWithoutLine);
}

#[test]
fn a_record_that_tells_another_story_than_its_run_is_found() {
    for change in [
        |row: &mut RunRow| row.fence += 1,
        |row: &mut RunRow| row.worker = "w2".into(),
        |row: &mut RunRow| row.tick = Some(tick(5)),
    ] {
        let mut world = World::well();
        change(&mut world.records.runs[4]);
        let found = world.report().findings;
        assert!(found.contains_key(&Kind::Differs), "{found:?}");
    }
}

#[test]
fn ticks_without_a_run_and_without_a_reason_are_found() {
    let mut world = World::without(4);
    world.records.ticks.push(TickRow { reason: String::new(), ..stretch(4, 4, TickOutcome::Missed) });
    let found = world.report().findings;
    assert!(found.contains_key(&Kind::NoReason), "{found:?}");
}

#[test]
fn a_run_that_was_killed_before_its_start_has_no_line() {
    let mut world = World::well();
    world.lines.remove(4);
    let row = &mut world.records.runs[4];
    (row.state, row.exit_code) = (RunState::Killed, None);
    world.finds_only(Kind::Unsuccessful);
}

#[test]
fn a_lost_run_is_found_and_ticks_missed_by_it_can_be_tolerated() {
    let mut world = World::without(4);
    world.records.runs[3].state = RunState::Lost;
    world.records.runs[3].exit_code = None;
    world.finds_only_also(Kind::Lost, Kind::Gap);
    world.records.ticks.push(stretch(4, 4, TickOutcome::Missed));
    world.finds_only_also(Kind::Lost, Kind::Missed);
    world.rules.lost_jobs_may_miss = true;
    world.finds_only(Kind::Lost);
}

impl World {
    #[track_caller]
    fn finds_only_also(&self, one: Kind, other: Kind) {
        let found: BTreeSet<_> = self.report().findings.keys().copied().collect();
        assert_eq!(found, BTreeSet::from([one, other]));
    }
}

#[test]
fn two_runs_of_an_allow_job_may_overlap() {
    let mut world = World::well();
    world.lines.insert(5, line(Mark::Beat, 3));
    world.expected[0].overlap = Overlap::Allow;
    assert!(world.report().findings.is_empty());
}

#[test]
fn a_late_start_is_found_and_in_the_time_of_a_fault_may_be_later() {
    let mut world = World::well();
    world.rules.punctuality = Some(Punctuality { late_ms: 500, recovery_ms: 2_000 });
    assert!(world.report().findings.is_empty());
    world.lines[4].at_ms = tick(4).millis() + 800;
    world.finds_only(Kind::Late);
    world.break_between(3, 6);
    assert!(world.report().findings.is_empty());
    world.lines[4].at_ms = tick(8).millis() + 100;
    world.finds_only(Kind::Late);
}

#[test]
fn a_lost_run_has_an_excuse_only_in_the_time_of_a_fault() {
    let mut world = World::well();
    world.records.runs[4].state = RunState::Lost;
    world.rules.excused.insert(Kind::Lost);
    world.finds_only(Kind::Lost);
    world.break_between(7, 8);
    world.finds_only(Kind::Lost);
    world.break_between(3, 6);
    let report = world.report();
    assert!(report.findings.is_empty(), "{report}");
    assert_eq!(report.allowed, BTreeMap::from([(Kind::Lost, 1)]));
}

#[test]
fn a_job_that_ran_while_it_was_paused_is_found_and_ticks_then_need_no_outcome() {
    let mut world = World::without(4);
    let asked_ms = (tick(3).millis() + 500, tick(6).millis() + 500);
    world.expected[0].off.push(Off { asked_ms, silent_ms: None });
    assert!(world.report().findings.is_empty());
    world.expected[0].off[0].silent_ms = Some((tick(4).millis() + 500, tick(5).millis() + 500));
    world.finds_only(Kind::WhileOff);
}

#[test]
fn a_second_attempt_of_a_job_that_is_run_at_most_once_is_found() {
    let mut world = World::well();
    let again = |line: Line| Line { attempt: 2, fence: 105, ..line };
    world.lines.insert(5, again(line(Mark::Start, 4)));
    world.lines[6..].iter_mut().for_each(|line| line.fence += 1);
    world.records.runs.push(RunRow { attempt: 2, ..row(4) });
    world.follow();
    world.finds_only(Kind::Doubled);
    world.expected[0].delivery = Delivery::AtLeastOnce;
    assert!(world.report().findings.is_empty());
}

#[test]
fn a_lost_run_that_was_to_be_made_again_is_found() {
    let mut world = World::well();
    world.rules.tolerated.extend([Kind::Lost, Kind::Unsuccessful]);
    world.expected[0].delivery = Delivery::AtLeastOnce;
    world.records.runs[4].state = RunState::Lost;
    world.finds_only_also(Kind::Lost, Kind::Unfinished);
    world.records.runs[4].state = RunState::Failed;
    world.expected[0].attempts = 3;
    world.finds_only_also(Kind::Unsuccessful, Kind::Unfinished);
}

#[test]
fn a_stretch_that_says_another_count_is_found() {
    let mut world = World::without(4);
    let skipped = stretch(4, 4, TickOutcome::Skipped);
    world.records.runs[3].ended_ms = tick(4).millis() + 500;
    world.records.ticks.push(TickRow { count: 2, ..skipped });
    world.finds_only_also(Kind::Skipped, Kind::Miscounted);
}

#[test]
fn jobs_that_are_not_punctual_again_after_a_fault_are_found() {
    let mut world = World::well();
    world.rules.punctuality = Some(Punctuality { late_ms: 500, recovery_ms: 2_000 });
    world.break_between(2, 3);
    assert_eq!(world.report().recoveries, [("a fault".to_owned(), Some(1_000))]);
    // Late, and less late than what is a fault by itself.
    world.rules.faults[0].to_ms += 100;
    for second in 4..9 {
        world.lines[second].at_ms += 600;
    }
    let report = world.report();
    assert_eq!(report.count(Kind::NotRecovered), 1, "{report}");
    assert_eq!(report.recoveries, [("a fault".to_owned(), Some(5_900))]);
}

#[test]
fn a_window_without_a_run_that_came_to_its_end_is_found() {
    let mut world = World::well();
    world.windows.push(ChronosJob {
        job: "a".into(),
        start_ms: tick(0).millis(),
        interval_ms: 5_000,
        count: 2,
        epsilon_ms: 1_500,
        duration_ms: 1_000,
    });
    for second in [0, 5] {
        let at = world.lines.iter().position(|line| line.tick == Some(tick(second)));
        world.lines.insert(at.unwrap() + 1, line(Mark::End, second));
    }
    let report = world.report();
    assert!(report.findings.is_empty(), "{report}");
    let met = WindowCount { due: 2, met: 2, extra: 0, incomplete: 8 };
    assert_eq!(report.windows, met);
    world.lines.retain(|line| line.mark == Mark::Start || line.tick != Some(tick(5)));
    world.finds_only(Kind::UnmetWindow);
}

#[test]
fn a_run_serves_one_window_and_the_one_that_closes_first() {
    let job = |epsilon_ms| ChronosJob {
        job: "a".into(),
        start_ms: tick(0).millis(),
        interval_ms: 1_000,
        count: 3,
        epsilon_ms,
        duration_ms: 0,
    };
    let begun = |times: &[i64]| {
        let run = |(n, at): (usize, &i64)| {
            let own = |mark| Line { run: format!("r{n}"), at_ms: tick(0).millis() + at, ..line(mark, 0) };
            [own(Mark::Start), own(Mark::End)]
        };
        times.iter().enumerate().flat_map(run).collect::<Vec<_>>()
    };
    let by = |rules: &Rules, epsilon_ms, times: &[i64]| {
        let mut report = Report::new(BTreeSet::new());
        job(epsilon_ms).check(&begun(times), tick(60).millis(), rules, &mut report);
        (report.count(Kind::UnmetWindow), report.windows.extra)
    };
    let unmet = |epsilon_ms, times: &[i64]| by(&Rules::default(), epsilon_ms, times);
    assert_eq!(unmet(500, &[0, 1_000, 2_000]), (0, 0));
    assert_eq!(unmet(500, &[-15, 990, 2_000]), (0, 0));
    assert_eq!(unmet(500, &[-50, 1_000, 2_000]), (1, 1));
    assert_eq!(by(&Rules { ahead_ms: 40, ..Rules::default() }, 500, &[-50, 1_000, 2_000]), (0, 0));
    assert_eq!(unmet(500, &[600, 1_000, 2_000]), (1, 1));
    assert_eq!(unmet(500, &[100, 200, 1_000]), (1, 1));
    // All windows are open at 2,000: each of the runs has one of its own, in the order in which they close.
    assert_eq!(unmet(5_000, &[2_000, 2_100, 2_200]), (0, 0));
    assert_eq!(unmet(1_500, &[1_200, 2_100, 3_400]), (0, 0));
}

#[test]
fn a_record_that_is_replaced_by_one_that_knows_less_is_found() {
    let mut world = World::well();
    let lost = RunRow { state: RunState::Lost, by: Author::Caretaker, ..row(4) };
    let see = |world: &mut World, row: &RunRow| {
        world.history.see_records(&Records { runs: vec![row.clone()], ticks: Vec::new() });
    };
    see(&mut world, &lost);
    see(&mut world, &row(4));
    assert!(world.report().findings.is_empty());
    see(&mut world, &lost);
    world.finds_only(Kind::WentBack);
}

#[test]
fn a_fence_that_goes_back_is_found_unless_its_job_was_made_again() {
    let mut world = World::well();
    let seen = |created, second| SeenLock { job: "a".into(), created, lock: Lock::new(tick(second)) };
    for lock in [seen(1, 4), seen(1, 5), seen(2, 3)] {
        world.history.see_lock(&lock);
    }
    assert!(world.report().findings.is_empty());
    world.history.see_lock(&seen(2, 2));
    world.finds_only(Kind::WentBack);
}

impl World {
    fn break_between(&mut self, from: i64, to: i64) {
        let (from_ms, to_ms) = (tick(from).millis(), tick(to).millis());
        self.rules.faults = vec![Fault::new("a fault", from_ms, to_ms)];
    }
}
