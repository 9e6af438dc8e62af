//! `quorate export`: all jobs as one JSON array, one per line, which `quorate job save` can read.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use common::api::{BrokenJob, JobPage};

use super::failed;
use crate::{
    client::Client,
    exit::Exit,
    output::{Output, visible},
    telemetry,
};

pub(super) async fn run(file: PathBuf, client: Client, mut output: Output) -> anyhow::Result<Exit> {
    // A copy of what a manager knew some time ago would take the place of a better one.
    let client = client.refusing_old_answers();
    let to_stdout = file == Path::new("-");
    let shown = if to_stdout { "standard output".to_owned() } else { file.display().to_string() };
    let unchanged =
        || if to_stdout { "export".to_owned() } else { format!("write {shown}, which is unchanged") };
    // Before there is a file: who does not answer leaves none behind.
    let mut first = client.jobs(None).await.map_err(failed).with_context(unchanged)?;
    let broken = std::mem::take(&mut first.broken);
    if to_stdout {
        write(&client, first, |text| output.bytes(text.as_bytes())).await?;
    } else {
        let count = replace(&client, first, &file).await.with_context(unchanged)?;
        output.line(format_args!("{count} jobs written to {shown}"))?;
    }
    output.flush()?;
    for BrokenJob { name, problem, .. } in &broken {
        telemetry::say(format_args!(
            "error: job {name:?} is not in {shown}, since what is stored does not decode: {}; save it again, or delete it",
            visible(problem)
        ));
    }
    Ok(if broken.is_empty() { Exit::Done } else { Exit::Failed })
}

/// Writes a file beside the one that was named and renames it at the end: an export that breaks off leaves the last
/// good one.
async fn replace(client: &Client, first: JobPage, file: &Path) -> anyhow::Result<usize> {
    let mut partial = file.to_owned().into_os_string();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let shown = partial.display();
    let created = std::fs::File::create(&partial).with_context(|| format!("create {shown}"))?;
    let mut writer = std::io::BufWriter::new(created);
    let written = write(client, first, |text| Ok(writer.write_all(text.as_bytes())?)).await;
    let finished = written.and_then(|count| {
        writer.flush()?;
        writer.get_ref().sync_all()?;
        std::fs::rename(&partial, file)?;
        Ok(count)
    });
    if finished.is_err()
        && let Err(left) = std::fs::remove_file(&partial)
    {
        tracing::warn!("{shown} is left behind: {left}");
    }
    finished
}

/// Writes page by page, and says how many jobs there were.
async fn write(
    client: &Client,
    mut page: JobPage,
    mut put: impl FnMut(&str) -> anyhow::Result<()>,
) -> anyhow::Result<usize> {
    let mut count = 0;
    loop {
        for view in &page.items {
            let start = if count == 0 { "[\n" } else { ",\n" };
            put(start)?;
            put(&serde_json::to_string(&view.job)?)?;
            count += 1;
        }
        let Some(after) = page.next.take() else { break };
        page = client.jobs(Some(&after)).await.map_err(failed)?;
    }
    put(if count == 0 { "[]\n" } else { "\n]\n" })?;
    Ok(count)
}
