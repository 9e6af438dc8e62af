//! Rows of measurements, as JSON lines or as the whole of docs/performance.md.

use std::fmt::Write as _;

use serde::Serialize;

use crate::stage;

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// Which, with its load.
    pub(crate) bench: String,
    /// What was measured, with its unit.
    pub(crate) value: String,
    /// What the raw parts do in the same run, with its unit; "" where there is no such thing.
    pub(crate) ceiling: String,
    /// `value` in parts of `ceiling`, where both are rates or times.
    pub(crate) ratio: Option<f64>,
    /// Processor time an operation, ours and the servers'.
    pub(crate) cpu: String,
    /// What else was seen.
    pub(crate) notes: String,
}

/// A line each.
pub(crate) fn json(rows: &[Row]) -> anyhow::Result<String> {
    let mut text = String::new();
    for row in rows {
        writeln!(text, "{}", serde_json::to_string(row)?)?;
    }
    Ok(text)
}

/// A page: where and when, and a table.
pub(crate) fn markdown(rows: &[Row]) -> anyhow::Result<String> {
    let mut text = String::from("# Performance\n\n");
    writeln!(
        text,
        "Made by `cargo run --release -p bench -- all --markdown --write docs/performance.md`; not edited."
    )?;
    writeln!(
        text,
        "Everything runs on one machine: the servers, the workers, the jobs and the measurement.\n"
    )?;
    writeln!(text, "- {}, {}", stage::now().format("%Y-%m-%d %H:%M UTC"), machine())?;
    writeln!(text, "- quorate {}\n", env!("CARGO_PKG_VERSION"))?;
    writeln!(text, "| bench | measured | ceiling | ratio | processor time | notes |")?;
    writeln!(text, "|---|---|---|---|---|---|")?;
    for row in rows {
        let ratio = row.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        let Row { bench, value, ceiling, cpu, notes, .. } = row;
        writeln!(text, "| {bench} | {value} | {ceiling} | {ratio} | {cpu} | {notes} |")?;
    }
    Ok(text)
}

/// Processor, cores, memory, kernel, as far as the kernel says.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let processor = field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown processor".into());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory = field(&read("/proc/meminfo"), "MemTotal");
    let kib = memory.and_then(|text| text.split(' ').next()?.parse::<f64>().ok()).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{processor}, {cores} cores, {:.0} GiB of memory, Linux {}", kib / 1_048_576.0, kernel.trim())
}
