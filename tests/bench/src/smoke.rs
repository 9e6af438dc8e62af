//! Each measurement once, with little of everything: that it works, not how fast.

use crate::{Amount, Bench, curves, report::Row, stage};

fn little(jobs: usize) -> Amount {
    let quorate = stage::beside_this_program().expect("the workspace is built as a whole");
    Amount { seconds: Some(1), workers: Some(1), jobs: Some(jobs), quorate }
}

/// Every number is one: nothing was divided by zero.
async fn measure(bench: Bench, jobs: usize) -> Vec<Row> {
    let rows = bench.measure(&little(jobs)).await.expect("it measures");
    assert!(!rows.is_empty());
    for row in &rows {
        let ratio = row.ceiling.map(|_| row.ratio());
        assert!(row.value.number.is_finite(), "{row:?}");
        assert!(ratio.is_none_or(|ratio| ratio.is_some_and(f64::is_finite)), "{row:?}");
    }
    rows
}

#[test]
fn each_measurement_is_among_these() {
    let tested = [
        Bench::Claims,
        Bench::Shell,
        Bench::Late,
        Bench::Peers,
        Bench::Memory,
        Bench::List,
        Bench::Save,
        Bench::Failover,
        Bench::Idle,
        Bench::Queue,
        Bench::Members,
        Bench::Ship,
    ];
    assert_eq!(Bench::All.each(), tested);
}

#[tokio::test(flavor = "multi_thread")]
async fn curves_are_drawn() {
    for plot in curves::measure(&little(20)).await.expect("it measures") {
        assert!(plot.lines.iter().all(|line| !line.points.is_empty()));
        assert!(plot.svg().ends_with("</svg>\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_are_measured() {
    measure(Bench::Claims, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shells_are_measured() {
    measure(Bench::Shell, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_are_measured() {
    measure(Bench::Memory, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn late_starts_are_measured() {
    measure(Bench::Late, 60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn saves_are_measured() {
    measure(Bench::Save, 50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_measured() {
    measure(Bench::List, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shipments_are_measured() {
    measure(Bench::Ship, 500).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_jobs_are_measured() {
    measure(Bench::Idle, 50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queued_runs_are_measured() {
    measure(Bench::Queue, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_go_and_come_are_measured() {
    measure(Bench::Members, 50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_leaves_no_tick_undone() {
    let rows = measure(Bench::Failover, 20).await;
    let counts = rows[0].notes.split(' ').filter_map(|word| word.parse::<u64>().ok()).collect::<Vec<_>>();
    assert_eq!(counts[0], counts[1], "{}", rows[0].notes);
}

#[tokio::test(flavor = "multi_thread")]
async fn loads_of_others_are_carried_once_each() {
    for row in measure(Bench::Peers, 30).await {
        assert_eq!(row.value.number, 0.0, "{}: {}", row.bench, row.notes);
        assert!(row.notes.starts_with("0 missed, 0 doubled of 30;"), "{}", row.notes);
    }
}
