//! Expected against happened, on made-up records.

use std::time::Duration;

use common::job::{Job, Pause, Trigger};

use super::*;

/// 2026-11-22T10:00:00Z.
const NOW: i64 = 1_795_341_600;

fn every(seconds: u64) -> StoredJob {
    let value = serde_json::json!({
        "name": "a", "trigger": {"every": format!("{seconds}s"), "anchor": "2026-11-22T00:00:00Z"},
        "driver": {"shell": {"command": "true"}},
    });
    let mut stored = StoredJob::new(Job::from_value(value).unwrap(), at(NOW - 7200));
    assert!(
        matches!(&stored.job.trigger, Trigger::Every { period, .. } if period.0 == Duration::from_secs(seconds))
    );
    stored.since = Some(at(NOW - 3600));
    stored
}

fn attempt(n: u32, state: RunState) -> Attempt {
    let (run, worker, reason) = ("r".to_owned(), "w".to_owned(), String::new());
    Attempt { run, attempt: n, state, worker, started: None, ended: None, reason }
}

fn stretch(from: i64, to: i64, count: u64, outcome: TickOutcome) -> TickRecord {
    TickRecord {
        job_name: "a".parse().unwrap(),
        from: Tick::from_instant(at(from)),
        to: Tick::from_instant(at(to)),
        count,
        outcome,
        reason: "a reason".to_owned(),
        worker: "w".parse().unwrap(),
        expires: 0,
    }
}

/// The last hour of a job, whose ticks are decided up to now.
fn known(stored: &StoredJob) -> Known {
    Known {
        expectation: Expectation::new(stored, None, NOW),
        floor: NOW - 3600,
        end: NOW + 1,
        now: NOW,
        fence: Some(NOW),
        waiting: "nobody is there".to_owned(),
        ..Known::default()
    }
}

/// `[from, to, count, outcome]` relative to now.
fn told(known: &Known, rows: Rows) -> Vec<(i64, i64, u64, &'static str)> {
    known.walk(rows, None).map(|row| (row.from - NOW, row.to - NOW, row.count, row.outcome.name())).collect()
}

#[test]
fn every_tick_has_one_row_whatever_became_of_it() {
    let mut known = known(&every(60));
    known.floor = NOW - 300;
    known.runs.insert(NOW - 60, vec![attempt(1, RunState::Failed), attempt(2, RunState::Succeeded)]);
    known.stretches.push(stretch(NOW - 180, NOW - 120, 2, TickOutcome::Missed));
    let rows = told(&known, Rows::Each);
    let expected = [
        (0, 0, 1, "no_record"),
        (-60, -60, 1, "succeeded"),
        (-120, -120, 1, "missed"),
        (-180, -180, 1, "missed"),
        (-240, -240, 1, "no_record"),
        (-300, -300, 1, "no_record"),
    ];
    assert_eq!(rows, expected);
    let folded = told(&known, Rows::Folded);
    let expected = [
        (0, 0, 1, "no_record"),
        (-60, -60, 1, "succeeded"),
        (-180, -120, 2, "missed"),
        (-300, -240, 2, "no_record"),
    ];
    assert_eq!(folded, expected);
    assert!(known.walk(Rows::Each, None).all(|row| row.expected == Some(true)));
    assert_eq!(
        known.walk(Rows::Each, None).nth(2).unwrap().stretch.unwrap().count,
        2,
        "its stretch is named"
    );
}

#[test]
fn a_month_of_seconds_is_counted_without_a_visit_to_each() {
    let mut stored = every(1);
    let month = 30 * 86_400;
    stored.since = Some(at(NOW - month));
    stored.job.trigger =
        serde_json::from_str(r#"{"every": "1s", "anchor": "2020-01-01T00:00:00Z"}"#).unwrap();
    let mut known = known(&stored);
    known.floor = NOW - month;
    known.stretches.push(stretch(NOW - month + 11, NOW - 10, 2_591_980, TickOutcome::Missed));
    let rows = told(&known, Rows::Folded);
    let expected = [
        (-9, 0, 10, "no_record"),
        (-month + 11, -10, 2_591_980, "missed"),
        (-month + 1, -month + 10, 10, "no_record"),
    ];
    assert_eq!(rows, expected);
}

#[test]
fn what_is_not_wanted_is_passed_over_without_a_visit_to_each() {
    let mut stored = every(1);
    stored.since = Some(at(NOW - 3600));
    let mut known = known(&stored);
    known.end = 253_402_300_800;
    known.runs.insert(NOW - 60, vec![attempt(1, RunState::Failed)]);
    let wanted = |wanted| {
        let rows = known.walk(Rows::Each, Some(wanted));
        rows.map(|row| (row.to - NOW, row.count)).take(3).collect::<Vec<_>>()
    };
    assert_eq!(wanted(Wanted::One(Outcome::Run(RunState::Failed))), [(-60, 1)]);
    assert_eq!(wanted(Wanted::One(Outcome::Waiting)), []);
    assert_eq!(wanted(Wanted::Unsuccessful), [(0, 1), (-1, 1), (-2, 1)]);
}

#[test]
fn nothing_is_expected_before_the_trigger_stood_or_while_it_was_paused() {
    let mut stored = every(60);
    stored.since = Some(at(NOW - 600));
    stored.pauses = vec![Pause { from: at(NOW - 540), to: Some(at(NOW - 300)) }];
    let mut known = known(&stored);
    assert_eq!(known.expectation.count(NOW - 3600, NOW), 6);
    let ticks: Vec<i64> = known.walk(Rows::Each, None).map(|row| row.to - NOW).collect();
    assert_eq!(ticks, [0, -60, -120, -180, -240, -540]);
    let folded = told(&known, Rows::Folded);
    assert_eq!(folded, [(0, 0, 1, "no_record"), (-540, -60, 5, "no_record")]);
    // What happened there is told all the same.
    known.runs.insert(NOW - 420, vec![attempt(1, RunState::Succeeded)]);
    known.runs.insert(NOW - 900, vec![attempt(1, RunState::Succeeded)]);
    let rows: Vec<_> =
        known.walk(Rows::Folded, None).map(|row| (row.to - NOW, row.count, row.expected)).collect();
    let yes = Some(true);
    assert_eq!(rows, [(0, 1, yes), (-60, 4, yes), (-420, 1, Some(false)), (-540, 1, yes), (-900, 1, None)]);
    stored.pauses.push(Pause { from: at(NOW - 90), to: None });
    assert_eq!(Expectation::new(&stored, None, NOW).count(NOW - 3600, NOW + 3600), 4);
}

#[test]
fn an_unexpected_stretch_stands_for_itself_once() {
    let mut stored = every(60);
    stored.job.trigger = Trigger::Manual;
    let mut known = known(&stored);
    known.stretches.push(stretch(NOW - 100, NOW - 40, 61, TickOutcome::Skipped));
    known.runs.insert(NOW - 70, vec![attempt(1, RunState::Lost)]);
    assert_eq!(told(&known, Rows::Each), [(-70, -70, 1, "lost"), (-100, -40, 61, "skipped")]);
    // It began before this page's floor, which is not the range's: a later page has it.
    known.floor = NOW - 80;
    assert_eq!(told(&known, Rows::Each), [(-70, -70, 1, "lost")]);
    known.is_bottom = true;
    assert_eq!(told(&known, Rows::Each).len(), 2);
    // The page before ended with it.
    known.end = NOW - 100;
    known.floor = NOW - 3600;
    known.stretches.clear();
    assert!(told(&known, Rows::Each).is_empty());
}

#[test]
fn a_stretch_by_itself_is_told_beside_a_run_at_the_floor() {
    let mut stored = every(60);
    stored.job.trigger = Trigger::Manual;
    let mut known = known(&stored);
    (known.floor, known.is_bottom) = (NOW - 80, true);
    known.stretches.push(stretch(NOW - 100, NOW - 40, 61, TickOutcome::Skipped));
    known.runs.insert(NOW - 80, vec![attempt(1, RunState::Lost)]);
    assert_eq!(told(&known, Rows::Each), [(-100, -40, 61, "skipped"), (-80, -80, 1, "lost")]);
}

#[test]
fn rows_do_not_go_back_in_time_where_stretches_overlap() {
    let mut known = known(&every(60));
    known.floor = NOW - 600;
    known.stretches.push(stretch(NOW - 600, NOW - 300, 6, TickOutcome::Missed));
    known.stretches.push(stretch(NOW - 430, NOW - 425, 6, TickOutcome::Skipped));
    let expected = [
        (0, 0, 1, "no_record"),
        (-240, -60, 4, "no_record"),
        (-420, -300, 3, "missed"),
        (-430, -425, 6, "skipped"),
        (-600, -480, 3, "missed"),
    ];
    assert_eq!(told(&known, Rows::Folded), expected);
}

#[test]
fn what_is_not_decided_waits_and_what_has_not_come_is_upcoming() {
    let mut known = known(&every(60));
    known.floor = NOW - 180;
    known.end = NOW + 121;
    known.fence = Some(NOW - 120);
    known.just_ended = true;
    let rows: Vec<_> =
        known.walk(Rows::Folded, None).map(|row| (row.to - NOW, row.count, row.reason)).collect();
    assert_eq!(rows[0], (120, 2, String::new()));
    assert_eq!(rows[1], (0, 2, "nobody is there".to_owned()));
    assert!(rows[2].0 == -120 && rows[2].2.contains("on its way"), "{rows:?}");
    assert!(rows[3].0 == -180 && rows[3].2.contains("no record"), "{rows:?}");
    known.fence = None;
    assert_eq!(told(&known, Rows::Folded)[1], (-180, 0, 4, "waiting"));
}

#[test]
fn a_job_forgets_its_oldest_pauses_and_says_since_when_it_knows() {
    let mut stored = every(60);
    for n in 0..10 {
        stored.pause(at(NOW - 1000 + n * 100));
        stored.resume(at(NOW - 950 + n * 100));
    }
    assert_eq!((stored.pauses.len(), stored.since), (8, Some(at(NOW - 850))));
    let other = Job { trigger: Trigger::Manual, ..stored.job.clone() };
    let replaced = stored.replaced(other, at(NOW));
    assert!(replaced.pauses.is_empty() && replaced.since == Some(at(NOW)));
}
