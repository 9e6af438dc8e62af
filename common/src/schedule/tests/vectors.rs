//! The instants that GDTS's library computed, where it is right.

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    expr: String,
    tz: Tz,
    from: String,
    next: Option<Vec<String>>,
    err: Option<String>,
}

/// Where that library says "ZERO": no instant comes any more. GDTS then fired without end; here the schedule
/// is over, and refused at save when it never began.
const NEVER: &str = "ZERO";

#[test]
fn every_vector_of_the_library_holds() {
    let mut lines = 0;
    for line in include_str!("../../../../tests/vectors/cron.jsonl").lines() {
        let vector: Vector = serde_json::from_str(line).unwrap();
        match (&vector.next, &vector.err) {
            (Some(next), None) => assert_instants(&vector, next),
            (None, Some(_)) => {
                refusal(&vector.expr);
            }
            _ => panic!("a vector has instants or an error: {line}"),
        }
        lines += 1;
    }
    assert_eq!(lines, 111);
}

fn assert_instants(vector: &Vector, next: &[String]) {
    let from = instant(&vector.from);
    let schedule = cron_in(vector.tz, &vector.expr);
    let mut at = from;
    for expected in next {
        let found = schedule.next_after(at);
        if expected == NEVER {
            assert_eq!(found, None, "{} after {at}", vector.expr);
            assert!(validate(&[&vector.expr], vector.tz, at, at).is_err(), "{} from {at}", vector.expr);
            return;
        }
        assert_eq!(found, Some(instant(expected)), "{} after {at} in {}", vector.expr, vector.tz);
        at = instant(expected);
    }
    assert!(validate(&[&vector.expr], vector.tz, from, from).is_ok(), "{}", vector.expr);
}
