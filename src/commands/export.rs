//! `quorate export`: all jobs as one JSON array, a job a line, which `quorate job save` reads again.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::failed;
use crate::{client::Client, exit::Exit, output::Output};

pub(super) async fn run(file: PathBuf, client: Client, mut output: Output) -> anyhow::Result<Exit> {
    if file == Path::new("-") {
        write(&client, |text| output.bytes(text.as_bytes())).await?;
        output.flush()?;
        return Ok(Exit::Done);
    }
    // Beside the file and renamed at the end: an export that breaks off leaves the last good one.
    let mut partial = file.clone().into_os_string();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let shown = partial.display().to_string();
    let mut writer =
        std::io::BufWriter::new(std::fs::File::create(&partial).with_context(|| format!("create {shown}"))?);
    let written = write(&client, |text| Ok(writer.write_all(text.as_bytes())?)).await;
    let finished = written.and_then(|count| {
        writer.flush()?;
        writer.get_ref().sync_all()?;
        std::fs::rename(&partial, &file)?;
        Ok(count)
    });
    match finished {
        Ok(count) => {
            output.line(format_args!("{count} jobs written to {}", file.display()))?;
            output.flush()?;
            Ok(Exit::Done)
        }
        Err(error) => {
            if let Err(left) = std::fs::remove_file(&partial) {
                tracing::warn!("{shown} is left behind: {left}");
            }
            Err(error.context(format!("write {}", file.display())))
        }
    }
}

/// Writes page by page, and says how many jobs there were.
async fn write(client: &Client, mut put: impl FnMut(&str) -> anyhow::Result<()>) -> anyhow::Result<usize> {
    let mut count = 0;
    let mut after: Option<String> = None;
    loop {
        let page = client.jobs(after.as_deref()).await.map_err(failed)?;
        for view in &page.items {
            let start = if count == 0 { "[\n" } else { ",\n" };
            put(start)?;
            put(&serde_json::to_string(&view.job)?)?;
            count += 1;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    put(if count == 0 { "[]\n" } else { "\n]\n" })?;
    Ok(count)
}
