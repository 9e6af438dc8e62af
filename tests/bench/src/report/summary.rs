//! Several runs of the same measurements as one: median, least and most.

use serde::Serialize;

use super::{Figure, Row, number};

/// A row over all runs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) bench: String,
    pub(crate) unit: &'static str,
    pub(crate) value: Range,
    pub(crate) ceiling_unit: &'static str,
    pub(crate) ceiling: Option<Range>,
    pub(crate) ratio: Option<Range>,
    /// Each with whether the medians reach it.
    pub(crate) targets: Vec<(String, bool)>,
    pub(crate) limit: &'static str,
    /// Of the run with the median value, as the notes.
    pub(crate) cpu: String,
    pub(crate) notes: String,
    pub(crate) runs: usize,
}

/// Where numbers lie.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Range {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Range {
    fn of(mut numbers: Vec<f64>) -> Option<Self> {
        numbers.sort_by(f64::total_cmp);
        let middle = numbers.len() / 2;
        let upper = *numbers.get(middle)?;
        let median = if numbers.len().is_multiple_of(2) {
            f64::midpoint(*numbers.get(middle.checked_sub(1)?)?, upper)
        } else {
            upper
        };
        Some(Self { median, least: *numbers.first()?, most: *numbers.last()? })
    }

    /// With its unit: the median, and between what it lies where there are several.
    pub(crate) fn words(&self, unit: &str) -> String {
        let space = if unit.is_empty() { "" } else { " " };
        let Self { median, least, most } = *self;
        if least.total_cmp(&most).is_eq() {
            return format!("{}{space}{unit}", number(median));
        }
        format!("{} ({}–{}){space}{unit}", number(median), number(least), number(most))
    }
}

impl Summary {
    /// The rows of all runs, those of one name together, in the order in which they came first.
    pub(crate) fn of_runs(runs: Vec<Vec<Row>>) -> Vec<Self> {
        let mut together: Vec<Vec<Row>> = Vec::new();
        for row in runs.into_iter().flatten() {
            match together.iter_mut().find(|rows| rows.iter().any(|first| first.bench == row.bench)) {
                Some(rows) => rows.push(row),
                None => together.push(vec![row]),
            }
        }
        together.into_iter().filter_map(Self::of).collect()
    }

    fn of(mut rows: Vec<Row>) -> Option<Self> {
        rows.sort_by(|a, b| a.value.number.total_cmp(&b.value.number));
        let value = Range::of(rows.iter().map(|row| row.value.number).collect())?;
        let ceiling = Range::of(rows.iter().filter_map(|row| Some(row.ceiling?.number)).collect());
        let ratio = Range::of(rows.iter().filter_map(Row::ratio).collect());
        let runs = rows.len();
        let middle = rows.swap_remove((runs - 1) / 2);
        let reached = |target: &super::Target| {
            let reached = target.is_reached(value.median, ratio.map(|ratio| ratio.median));
            (target.words(middle.value.unit), reached)
        };
        Some(Self {
            unit: middle.value.unit,
            value,
            ceiling_unit: middle.ceiling.map_or("", |Figure { unit, .. }| unit),
            ceiling,
            ratio,
            targets: middle.targets.iter().map(reached).collect(),
            limit: middle.limit,
            bench: middle.bench,
            cpu: middle.cpu,
            notes: middle.notes,
            runs,
        })
    }

    /// True when all that is to be reached is.
    pub(crate) fn is_reached(&self) -> bool {
        self.targets.iter().all(|(_, reached)| *reached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Target;

    fn row(bench: &str, value: f64, ceiling: f64) -> Row {
        Row::new(bench, Figure::new(value, "runs/s"))
            .ceiling(Figure::new(ceiling, "raw/s"))
            .reaching(Target::AtLeast(8.0))
            .reaching(Target::ShareAtLeast(0.7))
            .notes(format!("of {value}"))
    }

    #[test]
    fn runs_are_judged_by_their_medians() {
        let runs = vec![
            vec![row("a", 9.0, 10.0), row("b", 1.0, 1.0)],
            vec![row("a", 5.0, 10.0)],
            vec![row("a", 8.0, 16.0), row("b", 9.0, 9.0)],
        ];
        let summaries = Summary::of_runs(runs);
        let [a, b] = &summaries[..] else { panic!("{summaries:?}") };
        assert_eq!((a.bench.as_str(), a.runs, a.notes.as_str()), ("a", 3, "of 8"));
        assert_eq!(a.value, Range { median: 8.0, least: 5.0, most: 9.0 });
        assert_eq!(a.ratio.unwrap().median, 0.5, "the median of the ratios, and not the ratio of medians");
        assert_eq!(a.targets, [("≥ 8.00 runs/s".into(), true), ("ratio ≥ 0.70".into(), false)]);
        assert_eq!((b.runs, b.value.median), (2, 5.0));
    }

    #[test]
    fn a_range_says_how_far_it_goes_only_where_it_goes_anywhere() {
        let words = |numbers: &[f64]| Range::of(numbers.to_vec()).unwrap().words("ms");
        assert_eq!(words(&[1.0]), "1.00 ms");
        assert_eq!(words(&[1200.0, 1000.0, 1500.0]), "1,200 (1,000–1,500) ms");
    }
}
