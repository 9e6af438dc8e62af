//! Names of time zones, and what somebody may have meant by one that does not exist.

use std::str::FromStr;

use chrono_tz::{TZ_VARIANTS, Tz};

use super::error::shorten;

/// The longest name in the database has 32 bytes.
const MAX_ZONE_BYTES: usize = 64;
const MAX_SUGGESTIONS: usize = 3;
/// Wrong, missing or extra letters in a name that is still recognised.
const MAX_TYPOS: usize = 3;

/// A time zone name that is not in the IANA database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown time zone {got:?}: {}", advice(.suggestions))]
pub struct ZoneError {
    got: String,
    suggestions: Vec<&'static str>,
}

impl ZoneError {
    /// The name as it was given, cut when very long.
    pub fn got(&self) -> &str {
        &self.got
    }

    /// Zones that may have been meant, best first; possibly none.
    pub fn suggestions(&self) -> &[&'static str] {
        &self.suggestions
    }
}

fn advice(suggestions: &[&str]) -> String {
    match suggestions {
        [] => "give an IANA name such as Europe/Berlin or UTC".to_owned(),
        names => format!("did you mean {}?", names.join(" or ")),
    }
}

/// The zone of an IANA name (`Europe/Berlin`, `UTC`), spelled exactly.
pub fn parse_zone(name: &str) -> Result<Tz, ZoneError> {
    Tz::from_str(name).map_err(|_| ZoneError { got: shorten(name), suggestions: suggest(name) })
}

fn suggest(name: &str) -> Vec<&'static str> {
    let wanted = name.trim().replace([' ', '-'], "_").to_ascii_lowercase();
    if wanted.is_empty() || name.len() > MAX_ZONE_BYTES {
        return Vec::new();
    }
    let mut ranked: Vec<(usize, &'static str)> = TZ_VARIANTS
        .iter()
        .map(|zone| zone.name())
        .filter_map(|known| Some((unlikeness(&wanted, &known.to_ascii_lowercase())?, known)))
        .collect();
    ranked.sort_unstable();
    let best = ranked.first().map_or(0, |(unlikeness, _)| *unlikeness);
    ranked.iter().filter(|(rank, _)| *rank == best).map(|(_, known)| *known).take(MAX_SUGGESTIONS).collect()
}

/// How far a known name is from the wanted one, both in lower case; none when too far to be meant.
fn unlikeness(wanted: &str, known: &str) -> Option<usize> {
    let normal = known.replace('-', "_");
    if normal == wanted {
        return Some(0);
    }
    let place = |name: &str| name.rsplit('/').next().map(str::to_owned);
    if place(&normal) == place(wanted) {
        return Some(1);
    }
    let whole = distance(wanted, &normal);
    let of_place = place(&normal).map_or(whole, |place| distance(wanted, &place) + 1);
    let typos = whole.min(of_place);
    // Short names are close to everything.
    (typos <= MAX_TYPOS && typos * 3 <= wanted.chars().count()).then_some(1 + typos)
}

/// How many letters to change, add or remove to get from one to the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (above, letter) in from.chars().enumerate() {
        let mut diagonal = above;
        row[0] = above + 1;
        for (index, other) in to.iter().enumerate() {
            let replace = diagonal + usize::from(letter != *other);
            diagonal = row[index + 1];
            row[index + 1] = replace.min(diagonal + 1).min(row[index] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_found_by_its_exact_name() {
        assert_eq!(parse_zone("Europe/Berlin"), Ok(Tz::Europe__Berlin));
        assert_eq!(parse_zone("UTC"), Ok(Tz::UTC));
    }

    #[test]
    fn an_unknown_zone_suggests_what_was_meant() {
        for (got, meant) in [
            ("europe/berlin", "Europe/Berlin"),
            ("Berlin", "Europe/Berlin"),
            ("Europe/Berlín", "Europe/Berlin"),
            ("America/New York", "America/New_York"),
            ("New York", "America/New_York"),
            ("Asia/Shanghia", "Asia/Shanghai"),
            ("Germany/Berlin", "Europe/Berlin"),
            ("utc", "UTC"),
            ("America/Port_au-Prince", "America/Port-au-Prince"),
        ] {
            let error = parse_zone(got).unwrap_err();
            assert_eq!(error.suggestions().first(), Some(&meant), "{got}: {error}");
            assert!(error.to_string().contains(meant), "{error}");
        }
    }

    #[test]
    fn nonsense_gets_a_general_hint() {
        for got in ["", "   ", "xq", "Mars/Olympus_Mons_Caldera", &"Europe/".repeat(50)] {
            let error = parse_zone(got).unwrap_err();
            assert!(error.suggestions().is_empty(), "{got}: {error}");
            assert!(error.to_string().contains("IANA name"), "{error}");
        }
    }
}
