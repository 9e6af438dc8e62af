//! The line by cases, and by chance beside a plain list.

use common::{id::RunId, run::Cause};
use proptest::prelude::*;

use super::*;

const HEDGE: Duration = Duration::from_secs(1);
const FIRST: Facts = Facts { rank: Some(0), is_over: false, in_turn: true, hedge: HEDGE };

fn at(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(1_800_000_000_000 + ms).unwrap()
}

fn wanted(job: &str, since: i64) -> QueuedRun {
    let run: RunId = "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b".parse().unwrap();
    QueuedRun::new(job.parse().unwrap(), run, Cause::Manual, at(since))
}

fn entry(wanted: QueuedRun) -> Entry {
    Entry { wanted, written: Revision::new(7) }
}

/// What is set about at `ms`, when all have these facts.
fn set_about(line: &mut Line, ms: i64, facts: Facts) -> Vec<String> {
    let mut set_about = Vec::new();
    while let Some(name) = line.due(at(ms)) {
        if line.judge(&name, facts, at(ms)) {
            set_about.push(name);
        }
    }
    set_about
}

#[test]
fn a_run_is_set_about_when_its_time_has_come_and_each_rank_waits_for_the_one_before() {
    let later = QueuedRun { not_before: Some(at(5_000)), ..wanted("a", 0) };
    for (wanted, rank, not_yet, now) in [
        (wanted("a", 0), Some(0), None, 100),
        (wanted("a", 0), Some(2), Some(2_099), 2_100),
        (later.clone(), Some(0), Some(4_999), 5_000),
        (later.clone(), Some(1), Some(5_999), 6_000),
    ] {
        let mut line = Line::default();
        line.put("r", entry(wanted), at(100));
        let facts = Facts { rank, ..FIRST };
        if let Some(not_yet) = not_yet {
            assert!(set_about(&mut line, not_yet, facts).is_empty());
        }
        assert_eq!(line.next(), Some(at(now.max(100))));
        assert_eq!(set_about(&mut line, now, facts), ["r"]);
        assert!(set_about(&mut line, 60_000, facts).is_empty(), "it is in hand");
    }
    let mut line = Line::default();
    line.put("r", entry(later), at(100));
    assert!(set_about(&mut line, 100_000, Facts { rank: None, ..FIRST }).is_empty());
    assert_eq!(line.next(), None, "it is others' to start");
}

#[test]
fn what_is_over_is_anybodys_after_those_who_rank() {
    let mut line = Line::default();
    line.put("r", entry(QueuedRun { deadline: Some(at(1_000)), ..wanted("a", 0) }), at(0));
    let nobody = Facts { rank: None, ..FIRST };
    assert!(set_about(&mut line, 0, nobody).is_empty());
    assert_eq!(line.next(), Some(at(1_001)), "its deadline is looked at, whoever ranks");
    let over = Facts { is_over: true, ..nobody };
    assert!(set_about(&mut line, 1_001, over).is_empty());
    let last = 1_001 + 1_000 * i64::try_from(RANKS).unwrap();
    assert_eq!(line.next(), Some(at(last)));
    assert_eq!(set_about(&mut line, last, over), ["r"]);
}

// Once: hundreds of queued runs of one job, or a kill of them, held up the ticks of all others; each took a slot
// before it knew whether the lock was free, and the loop of ticks withdrew them one by one.
#[test]
fn of_runs_that_wait_for_each_other_the_oldest_goes_first() {
    let mut line = Line::default();
    for (name, since) in [("second", 20), ("first", 10), ("third", 30)] {
        line.put(name, entry(wanted("a", since)), at(100));
    }
    line.put("other", entry(wanted("b", 40)), at(100));
    assert_eq!(set_about(&mut line, 100, FIRST), ["first", "other"]);
    line.remove("first", at(200));
    line.remove("second", at(200));
    assert_eq!(set_about(&mut line, 200, FIRST), ["third"]);
    let beside = Facts { in_turn: false, ..FIRST };
    for name in ["x", "y"] {
        line.put(name, entry(wanted("a", 50)), at(300));
    }
    assert_eq!(set_about(&mut line, 300, beside), ["x", "y"], "nobody waits with overlap allow");
}

#[test]
fn what_did_not_start_is_looked_at_again_ever_later_and_at_once_when_asked() {
    let mut line = Line::default();
    let revision = Revision::new(7);
    line.put("r", entry(wanted("a", 0)), at(0));
    let mut waits = Vec::new();
    for _ in 0..5 {
        assert_eq!(set_about(&mut line, 0, FIRST), ["r"]);
        assert_eq!(line.put_back("r", Revision::new(8)), None, "another writing");
        waits.extend(line.put_back("r", revision).map(|wait| wait.as_millis()));
        assert!(set_about(&mut line, 10_000, FIRST).is_empty(), "nobody asks");
        line.look_at("r", at(0));
    }
    assert_eq!(waits, [200, 400, 800, 1000, 1000]);
    assert_eq!(set_about(&mut line, 0, FIRST), ["r"]);
    line.put("r", entry(wanted("a", 0)), at(5));
    assert_eq!(set_about(&mut line, 5, FIRST), ["r"], "written anew it is another");
}

#[test]
fn of_a_clock_that_was_ahead_only_the_wait_counts() {
    let hour = 3_600_000;
    let mut line = Line::default();
    let again = QueuedRun { not_before: Some(at(hour + 5_000)), ..wanted("a", hour) };
    line.put("r", entry(again), at(0));
    let facts = Facts { in_turn: false, ..FIRST };
    assert!(set_about(&mut line, 4_999, facts).is_empty());
    assert_eq!(set_about(&mut line, 5_000, facts), ["r"]);
}

#[test]
fn a_new_listing_forgets_what_it_does_not_name() {
    let mut line = Line::default();
    line.put("a", entry(wanted("a", 1)), at(0));
    line.put("b", entry(wanted("a", 2)), at(0));
    assert_eq!(set_about(&mut line, 0, FIRST), ["a"]);
    line.retain(|name| name == "b", at(1));
    assert!(line.get("a").is_none());
    assert_eq!(set_about(&mut line, 1, FIRST), ["b"]);
}

#[test]
fn no_stored_instant_is_too_far_away() {
    let (min, max) = (DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC);
    for instant in [min, max] {
        let run = QueuedRun {
            not_before: Some(instant),
            deadline: Some(instant),
            since: instant,
            ..wanted("a", 0)
        };
        let stored = QueuedRun::decode(&run.encode()).expect("such an instant is read");
        for since in [min, max, at(0)] {
            let mut line = Line::default();
            line.put("r", entry(QueuedRun { since, ..stored.clone() }), at(0));
            line.put("other", entry(wanted("a", 5)), at(0));
            for facts in [FIRST, Facts { is_over: true, ..FIRST }, Facts { rank: Some(2), ..FIRST }] {
                set_about(&mut line, 1, facts);
                line.look_at_all(at(1));
            }
            line.remove("r", at(2));
        }
    }
}

#[derive(Clone, Debug)]
enum Move {
    Put { name: u8, job: u8, since: i64, wait: Option<i64> },
    Remove(u8),
    PutBack(u8),
    Pass(i64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        (0..6u8, 0..2u8, 0..5i64, prop::option::of(0..3_000i64))
            .prop_map(|(name, job, since, wait)| Move::Put { name, job, since, wait }),
        (0..6u8).prop_map(Move::Remove),
        (0..6u8).prop_map(Move::PutBack),
        (0..2_000i64).prop_map(Move::Pass),
    ];
    prop::collection::vec(one, 1..60)
}

proptest! {
    /// Whatever happens: each job's oldest run that may start is in hand, or will be looked at.
    #[test]
    fn nobody_is_forgotten(moves in moves()) {
        let (mut line, mut now) = (Line::default(), 0);
        let mut there: HashMap<u8, (u8, i64, Option<i64>)> = HashMap::new();
        for step in moves {
            match step {
                Move::Put { name, job, since, wait } => {
                    let job_name = if job == 0 { "a" } else { "b" };
                    let not_before = wait.map(|wait| at(now + wait));
                    let run = QueuedRun { not_before, ..wanted(job_name, since) };
                    line.put(&name.to_string(), entry(run), at(now));
                    there.insert(name, (job, since, wait.map(|wait| now + wait)));
                }
                Move::Remove(name) => {
                    line.remove(&name.to_string(), at(now));
                    there.remove(&name);
                }
                Move::PutBack(name) => {
                    let name = name.to_string();
                    if line.put_back(&name, Revision::new(7)).is_some() {
                        line.look_at(&name, at(now));
                    }
                }
                Move::Pass(ms) => now += ms,
            }
            set_about(&mut line, now, FIRST);
            for job in 0..2u8 {
                let may_start = there.iter().filter(|(_, (of, _, not_before))| {
                    *of == job && not_before.is_none_or(|not_before| not_before <= now)
                });
                let oldest = may_start.min_by_key(|(name, (_, since, _))| (*since, name.to_string()));
                if let Some((name, _)) = oldest {
                    prop_assert!(line.places[&name.to_string()].in_hand, "{name} at {now}: {line:?}");
                }
            }
        }
    }
}
