//! Quantities over time, and whether they grow steadily. Pure.

use std::fmt;

/// What was sampled of one thing.
#[derive(Clone, Debug)]
pub struct Series {
    /// Of what.
    pub name: String,
    /// In what.
    pub unit: &'static str,
    /// Seconds, and the value.
    pub samples: Vec<(f64, f64)>,
    /// How much it may grow in the second half: this part of itself, and so much beside. None: it may grow.
    pub bound: Option<(f64, f64)>,
}

/// What a series did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Course {
    /// Around its start.
    pub start: f64,
    /// Around its middle.
    pub middle: f64,
    /// Around its end.
    pub end: f64,
    /// In an hour, by the second half.
    pub slope: f64,
    /// In the second half, as if all of it grew like the slower of its quarters: what grows does so in both, where a
    /// step (an allocator keeps what a burst took) is in one.
    pub grown: f64,
}

impl Series {
    /// What it did. None without samples.
    pub fn course(&self) -> Option<Course> {
        let count = self.samples.len();
        let around = |part: &[(f64, f64)]| median(part.iter().map(|(_, value)| *value).collect());
        let tenth = (count / 10).max(1);
        let half = self.samples.get(count / 2..)?;
        let (first, last) = (half.first()?, half.last()?);
        let slope = steepness(half);
        let (third, fourth) = half.split_at(half.len() / 2);
        let slowest = steepness(third).min(steepness(fourth));
        let grown = slowest * (last.0 - first.0);
        Some(Course {
            start: around(self.samples.get(..tenth)?),
            middle: around(self.samples.get(count / 2..(count / 2 + tenth).min(count))?),
            end: around(self.samples.get(count - tenth..)?),
            slope: slope * 3600.0,
            grown: grown.max(0.0),
        })
    }

    /// True when it grew more than it may.
    pub fn grows(&self) -> bool {
        let (Some(course), Some((part, beside))) = (self.course(), self.bound) else { return false };
        course.grown > course.middle.abs() * part + beside
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Course { start, middle, end, slope, .. }) = self.course() else {
            return write!(f, "{:<24} nothing", self.name);
        };
        let Self { name, unit, .. } = self;
        write!(f, "{name:<24}{start:>10.1}{middle:>10.1}{end:>10.1}{slope:>+12.1} {unit}")
    }
}

/// The median of the slopes between all pairs (Theil and Sen): a few outliers do not move it, nor does a saw-tooth.
fn steepness(samples: &[(f64, f64)]) -> f64 {
    let pairs = samples.iter().enumerate().flat_map(|(n, a)| samples[n + 1..].iter().map(move |b| (a, b)));
    median(pairs.filter(|(a, b)| b.0 > a.0).map(|(a, b)| (b.1 - a.1) / (b.0 - a.0)).collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(value: impl Fn(f64) -> f64) -> Series {
        let samples = (0..200).map(|n| f64::from(n) * 5.0).map(|at| (at, value(at))).collect();
        Series { name: "w1".into(), unit: "MiB", samples, bound: Some((0.1, 2.0)) }
    }

    #[test]
    fn what_grows_steadily_is_told_from_what_swings_or_settles() {
        let flat = series(|_| 30.0);
        let settles = series(|at| 40.0 - 20.0 * (-at / 60.0).exp());
        let swings = series(|at| 30.0 + at % 60.0);
        let outlier = series(|at| if at > 900.0 && at < 940.0 { 300.0 } else { 30.0 });
        // As an allocator that keeps what a burst took.
        let step = |from: f64| series(move |at| if at > from { 60.0 } else { 42.0 });
        for well in [&flat, &settles, &swings, &outlier, &step(620.0), &step(750.0), &step(900.0)] {
            assert!(!well.grows(), "{:?}", well.course());
        }
        // 500 s of 72 MiB an hour are 10 MiB.
        let leak = series(|at| 30.0 + at * 72.0 / 3600.0 + at % 7.0);
        let course = leak.course().unwrap();
        assert!(leak.grows() && (60.0..85.0).contains(&course.slope), "{course:?}");
        assert!(!Series { bound: None, ..leak }.grows());
    }
}
