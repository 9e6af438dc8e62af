//! How many instants several expressions have together.
//!
//! Where they coincide they count once, so their numbers cannot be added up. Hours that the clock leaves alone are
//! counted as sets of seconds: what a job with many expressions missed in a year must not hold up who counts it.

use chrono_tz::Tz;

use super::Part;
use super::calendar::bits;
use super::civil::{HOUR, Manner, offset_at, plain_block};

/// An hour's seconds, a minute each.
type Seconds = [u64; 60];

/// After `after` and not after `until`, at most `cap`.
pub(super) fn together(parts: &[Part], zone: Tz, mut after: i64, until: i64, cap: u64) -> u64 {
    // Each with its next instant, asked for again only when that is over, and left out when there is none.
    let mut live: Vec<(&Part, i64)> = parts.iter().map(|part| (part, i64::MIN)).collect();
    let mut count = 0;
    while count < cap {
        live.retain_mut(|(part, next)| {
            *next > after
                || part.next(zone, after).is_some_and(|later| {
                    *next = later;
                    true
                })
        });
        let Some(next) = live.iter().map(|(_, next)| *next).min().filter(|next| *next <= until) else {
            break;
        };
        let hour = plain_hour(parts, zone, next).filter(|start| *start > after && start + HOUR - 1 <= until);
        let Some(start) = hour else {
            (after, count) = (next, count + 1);
            continue;
        };
        let due = live.iter().filter(|(_, next)| *next < start + HOUR);
        count += count_hour(due.map(|(part, _)| *part), zone, start);
        after = start + HOUR - 1;
    }
    count.min(cap)
}

/// The start of the civil hour around `instant`, if the clock leaves it alone for all of them.
fn plain_hour(parts: &[Part], zone: Tz, instant: i64) -> Option<i64> {
    let all = parts.iter().filter_map(Part::expression).fold(
        Manner { makes_up: false, repeats: true },
        |all, one| {
            let Manner { makes_up, repeats } = one.manner();
            Manner { makes_up: all.makes_up || makes_up, repeats: all.repeats && repeats }
        },
    );
    plain_block(zone, instant, HOUR, all)
}

fn count_hour<'a>(parts: impl Iterator<Item = &'a Part>, zone: Tz, start: i64) -> u64 {
    let mut seconds: Seconds = [0; 60];
    let civil = start + offset_at(zone, start);
    for part in parts {
        match part.expression() {
            Some(expression) if expression.has_hour(civil) => {
                bits(expression.minutes).for_each(|minute| seconds[minute as usize] |= expression.seconds);
            }
            Some(_) => {}
            None => {
                let mut at = start - 1;
                while let Some(next) = part.next(zone, at).filter(|next| *next < start + HOUR) {
                    at = next;
                    seconds[((at - start) / 60) as usize] |= 1 << ((at - start) % 60);
                }
            }
        }
    }
    seconds.iter().map(|minute| u64::from(minute.count_ones())).sum()
}
