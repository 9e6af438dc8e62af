//! `quorate import crontab`: crontabs → jobs, saved through the API, with a report that accounts for every line.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use common::{
    clock::{Clock as _, SystemClock},
    crontab::{self, Crontab, Format, Options},
    id::JobName,
    job::Job,
};
use serde_json::{Value, json};

use super::{job::word, job_file};
use crate::{
    cli::ImportCrontab,
    client::{Client, ClientError, Existing, in_requests, to_value},
    config::ClientSettings,
    exit::{BadInput, Exit},
    output::Output,
};

mod report;

use report::Report;

/// The label of an imported job that says which table it came from.
const SOURCE_LABEL: &str = "crontab";

/// What a table is called that has no path: `crontab -l` wrote it.
const STANDARD_INPUT: &str = "crontab";

/// What became of a line's job: the word for it, or why it was not saved.
type Saving = Result<&'static str, String>;

/// One crontab with what became of it.
struct Import {
    file: String,
    format: Format,
    crontab: Crontab,
    /// By line number.
    savings: HashMap<usize, Saving>,
}

pub(super) async fn run(
    args: ImportCrontab,
    settings: ClientSettings,
    host: String,
    client: Client,
) -> anyhow::Result<Exit> {
    let prefix = &args.prefix_name;
    format!("{prefix}x")
        .parse::<JobName>()
        .map_err(|error| BadInput(format!("--prefix-name {prefix:?} makes no names: {error}")))?;
    let now = SystemClock::start().context("start the clock")?.now();
    let mut imports = Vec::new();
    for file in files(&args.files)? {
        let text = job_file::read(&file)?;
        let path = path_text(&file);
        let format = match (args.system, args.user) {
            (true, _) => Format::System,
            (_, true) => Format::User,
            _ => Format::of_path(&path),
        };
        let owner = crontab::owner_by_path(&path).map(str::to_owned);
        let options = Options {
            format,
            source: source(&host, &path, args.run_as.as_deref()),
            file: path.clone(),
            name_prefix: prefix.clone(),
            zone: settings.zone,
            user: args.run_as.clone().or(owner),
            require: args.require.clone(),
            now,
        };
        let crontab = crontab::parse(&text, &options);
        imports.push(Import { file: path, format, crontab, savings: HashMap::new() });
    }
    refuse_names_of_two_files(&mut imports);
    let saved = if args.dry_run { Ok(()) } else { save(&mut imports, &client, args.replace).await };
    let mut output = Output::new(settings.output);
    let exit = Report { imports: &imports, dry_run: args.dry_run }.print(&mut output)?;
    output.flush()?;
    saved?;
    Ok(exit)
}

/// The files that were named; a directory stands for the tables in it.
fn files(named: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in named {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut inside = Vec::new();
        for entry in std::fs::read_dir(path).with_context(|| format!("read {}", path.display()))? {
            inside.push(entry?.path());
        }
        inside.sort();
        for file in inside {
            // The names that cron takes: no dots, so that packagers' leftovers do not run.
            let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let is_taken = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
            if is_taken && file.is_file() {
                files.push(file);
            } else {
                eprintln!("{}: left out, as cron does for its name", file.display());
            }
        }
    }
    Ok(files)
}

fn path_text(file: &Path) -> String {
    if file == Path::new("-") {
        return STANDARD_INPUT.to_owned();
    }
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned()).display().to_string()
}

/// Which table this is, among all that may be imported into one Quorate.
fn source(host: &str, path: &str, run_as: Option<&str>) -> String {
    if path != STANDARD_INPUT {
        return format!("{host}:{path}");
    }
    let us = || nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten().map(|user| user.name);
    let user = run_as.map(str::to_owned).or_else(us).unwrap_or_default();
    format!("{host}:crontab of {user}")
}

/// Names are unique within a file; of two files with the same name, the second would replace the first's jobs.
fn refuse_names_of_two_files(imports: &mut [Import]) {
    let mut seen: HashMap<JobName, (String, usize)> = HashMap::new();
    for import in imports {
        for (line, job) in import.crontab.jobs() {
            if let Some((file, other)) = seen.get(&job.name) {
                let problem = format!(
                    "its name is also that of {file} line {other}: import the files one by one, with --prefix-name"
                );
                import.savings.insert(line, Err(problem));
            } else {
                seen.insert(job.name.clone(), (import.file.clone(), line));
            }
        }
    }
}

/// Saves the jobs. Ends at the first request that gets no answer.
async fn save(imports: &mut [Import], client: &Client, replace: bool) -> anyhow::Result<()> {
    let existing = if replace { Existing::Replace } else { Existing::Refuse };
    for import in imports {
        let Import { crontab, savings, .. } = import;
        let (mut lines, mut jobs, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (line, job) in crontab.jobs().filter(|(line, _)| !savings.contains_key(line)) {
            lines.push(line);
            jobs.push(job);
            values.push(to_value(job)?);
        }
        let mut given = lines.iter().zip(&jobs);
        for request in in_requests(&values) {
            let saves = client.save_jobs(request, existing).await;
            for (n, (line, job)) in given.by_ref().take(request.len()).enumerate() {
                let saving = match saves.as_ref().map(|saves| saves.get(n)) {
                    Ok(Some(Ok(saved))) => Ok(word(*saved)),
                    Ok(Some(Err(error))) if error.is_taken() => save_over(client, job).await?,
                    Ok(Some(Err(error))) => Err(error.to_string()),
                    Ok(None) | Err(_) => Err("no answer".to_owned()),
                };
                savings.insert(*line, saving);
            }
            saves?;
        }
    }
    Ok(())
}

/// Replaces a job, unless it has another origin.
async fn save_over(client: &Client, job: &Job) -> anyhow::Result<Saving> {
    let name = job.name.as_str();
    let lost = |error: ClientError| match error {
        ClientError::Unreachable { .. } => Err(error.into()),
        error => Ok(Err(error.to_string())),
    };
    match client.job(name).await {
        Ok(there) if there.job.labels.get(SOURCE_LABEL) != job.labels.get(SOURCE_LABEL) => {
            let origin = there.job.labels.get(SOURCE_LABEL).map_or_else(
                || "was not imported".to_owned(),
                |source| format!("was imported from {source}"),
            );
            return Ok(Err(format!(
                "there is a job of this name that {origin}: --prefix-name gives these another, --replace replaces it"
            )));
        }
        Ok(_) => {}
        Err(error) if error.is_not_found() => {}
        Err(error) => return lost(error),
    }
    match client.save_job(name, &to_value(job)?).await {
        Ok(saved) => Ok(Ok(word(saved))),
        Err(error) => lost(error),
    }
}

/// The jobs of all files, as `job save` takes them.
fn jobs(imports: &[Import]) -> anyhow::Result<Vec<Value>> {
    imports.iter().flat_map(|import| import.crontab.jobs()).map(|(_, job)| to_value(job)).collect()
}

impl Import {
    /// Everything about the file as JSON: every line, and what became of it.
    fn to_json(&self) -> anyhow::Result<Value> {
        let mut lines = Vec::new();
        for line in &self.crontab.lines {
            let mut value = to_value(line)?;
            match self.savings.get(&line.number) {
                Some(Ok(result)) => value["result"] = json!(result),
                Some(Err(error)) => {
                    value["result"] = json!("failed");
                    value["error"] = json!(error);
                }
                None => {}
            }
            lines.push(value);
        }
        Ok(json!({
            "file": self.file, "format": self.format, "count": self.crontab.count(), "notes": self.crontab.notes,
            "lines": lines,
        }))
    }
}
