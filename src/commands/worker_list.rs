//! `quorate worker list`.

use crate::{
    client::Client,
    exit::Exit,
    output::{Output, Table},
};

pub(super) async fn run(client: Client, mut output: Output) -> anyhow::Result<Exit> {
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
        output.json(&workers)?;
    } else {
        let mut table =
            Table::new(&["WORKER", "HOST", "ADDRESS", "RUNS", "LOAD", "LABELS", "VERSION", "STATE"]);
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
        output.table(&table, "no worker is alive")?;
    }
    output.flush()?;
    Ok(Exit::Done)
}
