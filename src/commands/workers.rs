//! `quorate worker list|show|drain|undrain`: the live workers, and whether they take anything new.

use crate::{
    cli::WorkerCommand,
    client::Client,
    exit::Exit,
    output::{Output, Table, visible},
};

pub(super) async fn run(command: WorkerCommand, client: Client, mut output: Output) -> anyhow::Result<Exit> {
    match command {
        WorkerCommand::List(_) => list(&client, &mut output).await?,
        WorkerCommand::Show { id, .. } => {
            // A worker is a tree, like a job.
            output.json(&client.worker(&id).await.map_err(super::failed)?)?;
        }
        WorkerCommand::Drain { id, note, evict, .. } => {
            let drain = client.drain(&id, &note.unwrap_or_default(), evict).await.map_err(super::failed)?;
            if output.is_json() {
                output.json(&drain)?;
            } else {
                let ends = if evict { ", and ends what it runs" } else { "; what it runs goes on" };
                output.line(format_args!("{}: takes nothing new from now on{ends}", visible(&id)))?;
            }
        }
        WorkerCommand::Undrain { id, .. } => {
            let drain = client.undrain(&id).await.map_err(super::failed)?;
            if output.is_json() {
                output.json(&drain)?;
            } else {
                output.line(format_args!("{}: takes runs again", visible(&id)))?;
            }
        }
    }
    output.flush()?;
    Ok(Exit::Done)
}

async fn list(client: &Client, output: &mut Output) -> anyhow::Result<()> {
    let mut workers = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = client.workers(after.as_deref()).await.map_err(super::failed)?;
        workers.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if output.is_json() {
        return output.json(&workers);
    }
    let mut table = Table::new(&["WORKER", "HOST", "ADDRESS", "RUNS", "LOAD", "LABELS", "VERSION", "STATE"]);
    for worker in &workers {
        let it = &worker.registration;
        let labels: Vec<String> = it.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        table.row([
            it.id.to_string(),
            it.host.clone(),
            it.address.clone(),
            format!("{}/{}", it.running, it.slots),
            format!("{:.2}", it.load),
            labels.join(","),
            it.version.clone(),
            worker.says.clone(),
        ]);
    }
    output.table(&table, "no worker is alive")
}
