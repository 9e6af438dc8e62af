//! What measurements give: rows with a number each, what is to be reached, and whether it is.

use std::fmt;

use serde::Serialize;

pub(crate) use page::Page;
pub(crate) use summary::Summary;

mod machine;
mod page;
mod summary;

/// One measured number.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Which, with its load; the same in each run, so that runs can be compared.
    pub(crate) bench: String,
    /// What was measured.
    pub(crate) value: Figure,
    /// What the raw parts do in the same run, where there is such a thing.
    pub(crate) ceiling: Option<Figure>,
    /// What `value` is to be.
    pub(crate) targets: Vec<Target>,
    /// What stands in the way, said where a target is not reached.
    pub(crate) limit: &'static str,
    /// Processor time, in words.
    pub(crate) cpu: String,
    /// What else was seen.
    pub(crate) notes: String,
}

impl Row {
    /// A number with nothing beside it.
    pub(crate) fn new(bench: impl Into<String>, value: Figure) -> Self {
        Self {
            bench: bench.into(),
            value,
            ceiling: None,
            targets: Vec::new(),
            limit: "",
            cpu: String::new(),
            notes: String::new(),
        }
    }

    pub(crate) fn ceiling(self, ceiling: Figure) -> Self {
        Self { ceiling: Some(ceiling), ..self }
    }

    pub(crate) fn reaching(mut self, target: Target) -> Self {
        self.targets.push(target);
        self
    }

    pub(crate) fn limit(self, limit: &'static str) -> Self {
        Self { limit, ..self }
    }

    pub(crate) fn cpu(self, cpu: impl Into<String>) -> Self {
        Self { cpu: cpu.into(), ..self }
    }

    pub(crate) fn notes(self, notes: impl Into<String>) -> Self {
        Self { notes: notes.into(), ..self }
    }

    /// `value` in parts of the ceiling.
    pub(crate) fn ratio(&self) -> Option<f64> {
        Some(self.value.number / self.ceiling.as_ref()?.number)
    }
}

/// A number with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Figure {
    pub(crate) number: f64,
    pub(crate) unit: &'static str,
}

impl Figure {
    pub(crate) const fn new(number: f64, unit: &'static str) -> Self {
        Self { number, unit }
    }

    pub(crate) fn ms(time: std::time::Duration) -> Self {
        Self::new(time.as_secs_f64() * 1000.0, "ms")
    }

    pub(crate) fn seconds(time: std::time::Duration) -> Self {
        Self::new(time.as_secs_f64(), "s")
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", number(self.number), self.unit)
    }
}

/// Three digits that count, or all before the point.
pub(crate) fn number(number: f64) -> String {
    let digits = match number.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        0.0 => 0,
        _ => 2,
    };
    let text = format!("{number:.digits$}");
    let (sign, whole) = text.strip_prefix('-').map_or(("", text.as_str()), |rest| ("-", rest));
    let (whole, fraction) = whole.split_once('.').map_or((whole, ""), |(whole, fraction)| (whole, fraction));
    let groups: Vec<&str> =
        whole.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{}{point}{fraction}", groups.join(","))
}

/// So many workers.
pub(crate) fn workers(count: usize) -> String {
    format!("{count} worker{}", if count == 1 { "" } else { "s" })
}

/// What is to be reached.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Target {
    /// The value, or more.
    AtLeast(f64),
    /// The value, or less.
    AtMost(f64),
    /// So much of the ceiling, or more.
    ShareAtLeast(f64),
    /// So much of what stands as the ceiling, or less.
    ShareAtMost(f64),
    /// One of them.
    Either(Box<[Target; 2]>),
}

impl Target {
    /// True when a value and its part of the ceiling are good enough.
    pub(crate) fn is_reached(&self, value: f64, ratio: Option<f64>) -> bool {
        match self {
            Self::AtLeast(least) => value >= *least,
            Self::AtMost(most) => value <= *most,
            Self::ShareAtLeast(least) => ratio.is_some_and(|ratio| ratio >= *least),
            Self::ShareAtMost(most) => ratio.is_some_and(|ratio| ratio <= *most),
            Self::Either(targets) => targets.iter().any(|target| target.is_reached(value, ratio)),
        }
    }

    /// In words, for values of this unit.
    pub(crate) fn words(&self, unit: &str) -> String {
        match self {
            Self::AtLeast(least) => format!("≥ {} {unit}", number(*least)),
            Self::AtMost(most) => format!("≤ {} {unit}", number(*most)),
            Self::ShareAtLeast(least) => format!("ratio ≥ {least:.2}"),
            Self::ShareAtMost(most) => format!("ratio ≤ {most:.2}"),
            Self::Either(targets) => targets.each_ref().map(|target| target.words(unit)).join(" or "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_count() {
        let cases = [
            (0.0, "0"),
            (0.123, "0.12"),
            (9.99, "9.99"),
            (12.34, "12.3"),
            (99.97, "100"),
            (1234.5, "1,234"),
            (1_000_000.0, "1,000,000"),
            (-1234.0, "-1,234"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn a_target_is_of_the_value_or_of_its_part_of_the_ceiling() {
        assert!(Target::AtLeast(10.0).is_reached(10.0, None));
        assert!(!Target::AtMost(10.0).is_reached(10.1, Some(0.1)));
        assert!(Target::ShareAtLeast(0.7).is_reached(1.0, Some(0.7)));
        assert!(!Target::ShareAtMost(1.3).is_reached(1.0, None), "without a ceiling there is no part of it");
        let either = Target::Either(Box::new([Target::AtLeast(20.0), Target::ShareAtLeast(0.9)]));
        assert!(either.is_reached(5.0, Some(0.95)) && either.is_reached(30.0, Some(0.1)));
        assert!(!either.is_reached(5.0, Some(0.5)));
        assert_eq!(either.words("runs/s"), "≥ 20.0 runs/s or ratio ≥ 0.90");
    }
}
