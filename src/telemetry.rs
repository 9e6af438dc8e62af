//! Logging, on standard error: standard output belongs to results.

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, LogSettings};

/// Sets logging up for the rest of the process.
pub(crate) fn start(settings: &LogSettings) -> anyhow::Result<()> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(&settings.filter)?)
        .with_writer(std::io::stderr);
    let started = match settings.format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            builder.with_ansi(colours).try_init()
        }
    };
    started.map_err(|error| anyhow::anyhow!(error).context("set up logging"))
}
