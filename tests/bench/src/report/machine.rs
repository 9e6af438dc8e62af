//! On what it was measured.

use std::process::Command;

use anyhow::Context as _;
use test_support::servers;

/// Processor, cores, memory, kernel, as far as the kernel says.
pub(crate) fn hardware() -> String {
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

/// The servers that the measurements start, as they name themselves.
pub(crate) fn servers() -> anyhow::Result<String> {
    let version = |variable, name| {
        let program = servers::program(variable, name);
        let output = Command::new(&program).arg("--version").output();
        let output = output.with_context(|| format!("ask {} for its version", program.display()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let number = text.lines().next().and_then(|line| line.split_whitespace().last()).unwrap_or("?");
        anyhow::Ok(number.trim_start_matches('v').to_owned())
    };
    Ok(format!(
        "etcd {} (one member, writing to its disk), mongod {}",
        version("QUORATE_TEST_ETCD", "etcd")?,
        version("QUORATE_TEST_MONGOD", "mongod")?
    ))
}
