//! The ledger finds what is planted.

use chrono::{DateTime, TimeZone as _, Utc};
use common::{id::WorkerId, run::Cause};
use tokio::time::sleep;

use super::*;
use crate::load::Rhythm;

/// A job every ten seconds from 01:00:00 on, whose runs last four seconds.
struct Bench {
    ledger: Arc<Ledger>,
    start: DateTime<Utc>,
    runs: u64,
}

impl Bench {
    fn new() -> Self {
        Self::with(None)
    }

    /// The job may be edited; its other trigger is every four seconds.
    fn edited() -> Self {
        Self::with(Some(Rhythm { every: 4, phase: 0 }))
    }

    fn with(other: Option<Rhythm>) -> Self {
        let start = Utc.with_ymd_and_hms(2026, 11, 22, 1, 0, 0).unwrap();
        let plan = Plan {
            name: "a".parse().unwrap(),
            rhythm: Rhythm { every: 10, phase: start.timestamp().rem_euclid(10) },
            other,
            lasts: Duration::from_secs(4),
        };
        let rules = Rules { from: start.timestamp(), late_ms: 100, trace: 0 };
        Self { ledger: Ledger::new(Time::starting_at(start), vec![plan], rules), start, runs: 0 }
    }

    fn now(&self) -> i64 {
        self.ledger.time.now().timestamp()
    }

    /// A run of a tick so many seconds behind the start.
    fn run(&mut self, tick: i64) -> Started {
        self.runs += 1;
        Started {
            job: "a".parse().unwrap(),
            tick: Some(Tick::from_instant(self.start + chrono::TimeDelta::seconds(tick))),
            run: format!("01935d2e-7b1c-7c3e-9a51-{:012x}", self.runs).parse().unwrap(),
            attempt: 1,
            fence: i64::try_from(self.runs).unwrap(),
            worker: 0,
            ahead_ms: 0,
        }
    }

    fn log(&self, run: &Started, state: RunState) {
        self.ledger.run(&record(run, state));
    }

    fn tell(&self, from: i64, to: i64, count: u64, outcome: TickOutcome) {
        let tick = |seconds| Tick::from_instant(self.start + chrono::TimeDelta::seconds(seconds));
        self.ledger.ticks(&TickRecord {
            job_name: "a".parse().unwrap(),
            from: tick(from),
            to: tick(to),
            count,
            outcome,
            reason: String::new(),
            worker: worker(),
            expires: 0,
        });
    }

    /// A run of the tick that is due, as it has to be.
    async fn good(&mut self) {
        let run = self.run(self.now() - self.start.timestamp());
        sleep(self.ledger.started(&run)).await;
        self.ledger.ended(&run, End::Complete);
        self.log(&run, RunState::Succeeded);
        sleep(Duration::from_secs(6)).await;
    }

    fn usual(&self) -> JobState {
        JobState::On(Rhythm { every: 10, phase: self.start.timestamp().rem_euclid(10) })
    }

    /// The job becomes so, by a request that takes 20 ms.
    async fn edit(&self, becomes: JobState) {
        let job = "a".parse().unwrap();
        self.ledger.asks(&job, becomes, self.ledger.time.millis());
        sleep(Duration::from_millis(20)).await;
        self.ledger.asked(&job, self.ledger.time.millis());
    }

    /// A run without a tick.
    fn wanted(&mut self) -> Started {
        Started { tick: None, ..self.run(0) }
    }

    /// What is found of all ticks so far.
    fn found(&self, finding: Finding) -> u64 {
        let report = self.ledger.close(self.now() - 1);
        assert_eq!(report.is_clean(), report.count(finding) == 0, "{report}");
        report.count(finding)
    }
}

fn worker() -> WorkerId {
    "w".parse().unwrap()
}

fn record(run: &Started, state: RunState) -> RunRecord {
    RunRecord {
        job_name: run.job.clone(),
        command: String::new(),
        err: String::new(),
        output: String::new(),
        plan_time: 0,
        schedule_time: 0,
        start_time: 0,
        end_time: 0,
        run: run.run,
        task: false,
        attempt: run.attempt,
        state,
        reason: String::new(),
        by: Author::Worker,
        trigger: Cause::Schedule,
        tick: run.tick,
        worker: worker(),
        fence: common::revision::Token(run.fence),
        claim_time: 0,
        exit_code: None,
        signal: None,
        truncated: 0,
        gap: None,
        pieces: Vec::new(),
        expires: 0,
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_as_it_has_to_be_is_clean() {
    let mut bench = Bench::new();
    for _ in 0..3 {
        bench.good().await;
    }
    let report = bench.ledger.close(bench.now() - 1);
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.expected, report.succeeded, report.starts), (3, 3, 3));
}

#[tokio::test(start_paused = true)]
async fn a_second_run_of_a_tick_is_found() {
    let mut bench = Bench::new();
    bench.good().await;
    let again = bench.run(0);
    bench.ledger.started(&again);
    bench.ledger.ended(&again, End::Complete);
    bench.log(&again, RunState::Succeeded);
    let report = bench.ledger.close(bench.now() - 1);
    assert!(report.count(Finding::Doubled) > 0, "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_run_of_a_tick_that_was_judged_long_ago_is_found() {
    let mut bench = Bench::new();
    bench.good().await;
    assert_eq!(bench.found(Finding::Doubled), 0);
    let again = bench.run(0);
    bench.ledger.started(&again);
    assert_eq!(bench.found(Finding::Doubled), 1);
}

#[tokio::test(start_paused = true)]
async fn a_tick_without_an_outcome_is_found() {
    let mut bench = Bench::new();
    bench.good().await;
    sleep(Duration::from_secs(10)).await;
    bench.good().await;
    assert_eq!(bench.found(Finding::Gap), 1);
}

#[tokio::test(start_paused = true)]
async fn runs_side_by_side_are_found() {
    let mut bench = Bench::new();
    let first = bench.run(0);
    bench.ledger.started(&first);
    sleep(Duration::from_secs(10)).await;
    let second = bench.run(10);
    bench.ledger.started(&second);
    for run in [&first, &second] {
        bench.ledger.ended(run, End::Complete);
        bench.log(run, RunState::Succeeded);
    }
    assert_eq!(bench.found(Finding::Overlap), 1);
}

#[tokio::test(start_paused = true)]
async fn an_early_start_is_found_and_a_clock_that_is_ahead_is_an_excuse_for_as_much() {
    let mut bench = Bench::new();
    bench.good().await;
    sleep(Duration::from_millis(9_000)).await;
    let ahead = Started { ahead_ms: 1_000, ..bench.run(20) };
    bench.ledger.started(&ahead);
    assert_eq!(bench.ledger.lock().report.count(Finding::Early), 0);
    bench.ledger.ended(&ahead, End::Complete);
    sleep(Duration::from_millis(10_500)).await;
    let early = bench.run(30);
    bench.ledger.started(&early);
    assert_eq!(bench.ledger.lock().report.count(Finding::Early), 1);
}

#[tokio::test(start_paused = true)]
async fn an_old_fence_is_found() {
    let mut bench = Bench::new();
    bench.good().await;
    let old = Started { fence: 1, ..bench.run(10) };
    bench.ledger.started(&old);
    bench.ledger.ended(&old, End::Complete);
    bench.log(&old, RunState::Succeeded);
    assert_eq!(bench.found(Finding::StaleFence), 1);
}

#[tokio::test(start_paused = true)]
async fn a_late_start_is_found_unless_something_was_broken() {
    let mut bench = Bench::new();
    sleep(Duration::from_millis(500)).await;
    let late = bench.run(0);
    bench.ledger.started(&late);
    bench.ledger.ended(&late, End::Complete);
    bench.log(&late, RunState::Succeeded);
    sleep(Duration::from_millis(9_500)).await;
    assert_eq!(bench.found(Finding::Late), 1);
    // What breaks between the tick and its start is an excuse as well.
    sleep(Duration::from_millis(200)).await;
    let now = bench.ledger.time.millis();
    bench.ledger.broken(Fault { name: "it".into(), from_ms: now, to_ms: now + 1_000, clock_ms: 0 });
    sleep(Duration::from_millis(300)).await;
    let late = bench.run(10);
    bench.ledger.started(&late);
    bench.ledger.ended(&late, End::Complete);
    bench.log(&late, RunState::Succeeded);
    sleep(Duration::from_secs(9)).await;
    assert_eq!(bench.found(Finding::Late), 1);
}

#[tokio::test(start_paused = true)]
async fn a_run_without_a_record_and_a_record_that_is_not_true_are_found() {
    let mut bench = Bench::new();
    let unlogged = bench.run(0);
    bench.ledger.started(&unlogged);
    bench.ledger.ended(&unlogged, End::Complete);
    sleep(Duration::from_secs(10)).await;
    let cut_short = bench.run(10);
    bench.ledger.started(&cut_short);
    bench.ledger.ended(&cut_short, End::Died);
    bench.log(&cut_short, RunState::Succeeded);
    sleep(Duration::from_secs(10)).await;
    let report = bench.ledger.close(bench.now() - 1);
    assert_eq!((report.count(Finding::WithoutRecord), report.count(Finding::Untrue)), (1, 1), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_skip_is_right_only_while_the_job_runs_and_a_miss_only_while_something_is_broken() {
    let mut bench = Bench::new();
    let long = bench.run(0);
    bench.ledger.started(&long);
    sleep(Duration::from_secs(15)).await;
    bench.ledger.ended(&long, End::Complete);
    bench.log(&long, RunState::Succeeded);
    bench.tell(10, 10, 1, TickOutcome::Skipped);
    sleep(Duration::from_secs(4)).await;
    assert_eq!(bench.found(Finding::SkippedIdle), 0);
    bench.tell(30, 30, 1, TickOutcome::Skipped);
    bench.tell(20, 20, 1, TickOutcome::Missed);
    sleep(Duration::from_secs(13)).await;
    let report = bench.ledger.close(bench.now() - 1);
    assert_eq!((report.count(Finding::SkippedIdle), report.count(Finding::Missed)), (1, 1), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_stretch_that_counts_wrong_and_an_outcome_beside_a_run_are_found() {
    let mut bench = Bench::new();
    let now = bench.ledger.time.millis();
    bench.ledger.broken(Fault { name: "it".into(), from_ms: now, to_ms: now + 100_000, clock_ms: 0 });
    bench.good().await;
    bench.tell(0, 20, 2, TickOutcome::Missed);
    sleep(Duration::from_secs(15)).await;
    let report = bench.ledger.close(bench.now() - 1);
    assert_eq!((report.count(Finding::Miscounted), report.count(Finding::Contradiction)), (1, 1), "{report}");
    assert_eq!(report.count_excused(Finding::Missed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_run_in_the_middle_of_a_pause_is_found_and_one_while_it_is_asked_for_is_not() {
    let mut bench = Bench::edited();
    bench.good().await;
    sleep(Duration::from_millis(9_990)).await;
    let asked = bench.ledger.time.millis() - 100;
    bench.ledger.asks(&"a".parse().unwrap(), JobState::Paused, asked);
    sleep(Duration::from_millis(20)).await;
    let on_its_way = bench.run(20);
    sleep(bench.ledger.started(&on_its_way)).await;
    bench.ledger.ended(&on_its_way, End::Complete);
    bench.log(&on_its_way, RunState::Succeeded);
    bench.ledger.asked(&"a".parse().unwrap(), bench.ledger.time.millis());
    assert_eq!(bench.ledger.lock().report.count(Finding::RanOff), 0);
    sleep(Duration::from_millis(5_990)).await;
    let paused = bench.run(30);
    bench.ledger.started(&paused);
    assert_eq!(bench.ledger.lock().report.count(Finding::RanOff), 1);
}

#[tokio::test(start_paused = true)]
async fn a_tick_just_before_a_pause_needs_an_outcome_and_one_in_it_does_not() {
    let mut bench = Bench::edited();
    bench.good().await;
    sleep(Duration::from_millis(10)).await;
    bench.edit(JobState::Paused).await;
    sleep(Duration::from_secs(15)).await;
    bench.edit(bench.usual()).await;
    sleep(Duration::from_millis(4_950)).await;
    bench.good().await;
    // The tick at 10 has none, the one at 20 is in the pause.
    assert_eq!(bench.found(Finding::Gap), 1);
}

#[tokio::test(start_paused = true)]
async fn what_an_edit_passed_over_is_right_only_beside_an_edit() {
    let mut bench = Bench::edited();
    bench.good().await;
    bench.edit(JobState::Paused).await;
    bench.tell(10, 10, 1, TickOutcome::Missed);
    bench.edit(bench.usual()).await;
    sleep(Duration::from_millis(9_960)).await;
    bench.tell(20, 20, 1, TickOutcome::Missed);
    sleep(Duration::from_secs(1)).await;
    let report = bench.ledger.close(bench.now() - 1);
    assert_eq!((report.passed, report.count(Finding::Missed)), (1, 1), "{report}");
}

#[tokio::test(start_paused = true)]
async fn ticks_of_a_trigger_that_the_job_does_not_have_are_not_its_own() {
    let mut bench = Bench::edited();
    bench.good().await;
    bench.edit(JobState::On(Rhythm { every: 4, phase: 0 })).await;
    sleep(Duration::from_secs(10)).await;
    let usual = (0..).map(|n| 20 + 10 * n).find(|tick| (bench.start.timestamp() + tick) % 4 != 0).unwrap();
    let stray = bench.run(usual);
    bench.ledger.started(&stray);
    assert_eq!(bench.ledger.lock().report.count(Finding::RanOff), 1);
}

#[tokio::test(start_paused = true)]
async fn a_second_run_of_a_tick_is_found_unless_the_job_was_made_again_before_the_tick() {
    for (made_again_after_ms, found) in [(0, 0), (100, 1)] {
        let mut bench = Bench::edited();
        bench.good().await;
        sleep(Duration::from_millis(9_940)).await;
        // By a clock that is ahead.
        let early = Started { ahead_ms: 100, ..bench.run(20) };
        bench.ledger.started(&early);
        bench.ledger.ended(&early, End::Complete);
        bench.log(&early, RunState::Succeeded);
        bench.edit(JobState::Gone).await;
        sleep(Duration::from_millis(made_again_after_ms)).await;
        bench.edit(bench.usual()).await;
        sleep(Duration::from_millis(50)).await;
        let again = bench.run(20);
        bench.ledger.started(&again);
        let doubled = bench.ledger.lock().report.count(Finding::Doubled);
        assert_eq!(doubled, found, "made again {made_again_after_ms} ms after it went");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wanted_run_that_has_no_outcome_runs_twice_or_is_not_on_record_is_found() {
    let mut bench = Bench::edited();
    let [good, forgotten, twice, unlogged] = [bench.wanted(), bench.wanted(), bench.wanted(), bench.wanted()];
    for run in [&good, &forgotten, &twice, &unlogged] {
        bench.ledger.promised(&run.job, run.run);
    }
    for (fence, run) in [&good, &twice, &twice, &unlogged].into_iter().enumerate() {
        bench.ledger.started(&Started { fence: 10 + i64::try_from(fence).unwrap(), ..run.clone() });
        bench.ledger.ended(run, End::Complete);
    }
    bench.log(&good, RunState::Succeeded);
    bench.log(&twice, RunState::Succeeded);
    sleep(Duration::from_secs(1)).await;
    let report = bench.ledger.close(bench.now() - 1);
    let found = [Finding::Gap, Finding::Doubled, Finding::WithoutRecord].map(|finding| report.count(finding));
    // The tick at 0 has no outcome either.
    assert_eq!(found, [2, 1, 1], "{report}");
}
