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
};
use serde_json::{Value, json};

use super::job_file;
use crate::{
    cli::ImportCrontab,
    client::{Client, ClientError, to_value},
    config::ClientSettings,
    exit::{BadInput, Exit},
    output::Output,
    telemetry,
};

mod report;
mod table;

use report::Report;
use table::{Gone, GoneResult, Plan};

/// What a table is called that has no path: `crontab -l` wrote it.
const STANDARD_INPUT: &str = "crontab";

/// What is said of a job whose request was sent, and has no answer.
const UNKNOWN: &str = "no answer; it may be saved";

/// What became of a line's job.
enum Saving {
    /// The word for it.
    Saved(&'static str),
    /// Why not.
    NotSaved(String),
    /// It was sent, and nobody said.
    Unknown,
}

impl Saving {
    /// Of a job whose request was not answered as a manager does.
    fn without_answer(error: &ClientError) -> Self {
        if error.is_in_doubt() { Self::Unknown } else { Self::NotSaved("not sent".to_owned()) }
    }
}

/// One crontab with what became of it.
struct Import {
    file: String,
    format: Format,
    crontab: Crontab,
    /// What its jobs' label says, and what it said in earlier versions.
    source: String,
    plain_source: String,
    prefix: String,
    /// What is to be done, by line number; empty: no manager said what is there.
    plans: HashMap<usize, Plan>,
    /// What became of it, by line number.
    savings: HashMap<usize, Saving>,
    /// The jobs of earlier imports that no line is any more.
    gone: Vec<Gone>,
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
        let plain_source = source(&host, &path, args.run_as.as_deref());
        // One file may be imported for several machines, with names of their own.
        let source =
            if prefix.is_empty() { plain_source.clone() } else { format!("{plain_source} as {prefix:?}") };
        let options = Options {
            format,
            source: source.clone(),
            file: path.clone(),
            name_prefix: prefix.clone(),
            zone: settings.zone,
            user: args.run_as.clone().or(owner),
            require: args.require.clone(),
            now,
        };
        let crontab = crontab::parse(&text, &options);
        imports.push(Import {
            file: path,
            format,
            crontab,
            source,
            plain_source,
            prefix: prefix.clone(),
            plans: HashMap::new(),
            savings: HashMap::new(),
            gone: Vec::new(),
        });
    }
    let saved = carry_out(&mut imports, &client, &args).await;
    let mut output = Output::new(settings.output);
    let exit = Report { imports: &imports, dry_run: args.dry_run, prune: args.prune, replace: args.replace }
        .print(&mut output)?;
    output.flush()?;
    saved?;
    Ok(exit)
}

/// Does what has to be done. A dry run only looks, if there is a manager to look at.
async fn carry_out(imports: &mut [Import], client: &Client, args: &ImportCrontab) -> anyhow::Result<()> {
    let imported = match table::imported(client).await {
        Ok(imported) => Some(imported),
        Err(_) if args.dry_run => None,
        Err(error) => return Err(error.into()),
    };
    for import in &mut *imports {
        if let Some(imported) = &imported {
            import.recognise(imported);
        }
    }
    refuse_names_of_two_files(imports);
    if args.dry_run {
        return Ok(());
    }
    for import in &mut *imports {
        import.save(client, args.replace).await?;
    }
    if args.prune {
        for import in imports {
            import.prune(client, args.replace).await?;
        }
    }
    Ok(())
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
                telemetry::say(format_args!("{}: left out, as cron does for its name", file.display()));
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
                import.savings.insert(line, Saving::NotSaved(problem));
            } else {
                seen.insert(job.name.clone(), (import.file.clone(), line));
            }
        }
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
                Some(Saving::Saved(result)) => value["result"] = json!(result),
                Some(Saving::NotSaved(error)) => {
                    value["result"] = json!("failed");
                    value["error"] = json!(error);
                }
                Some(Saving::Unknown) => {
                    value["result"] = json!("unknown");
                    value["error"] = json!(UNKNOWN);
                }
                None => {}
            }
            lines.push(value);
        }
        let gone: Vec<Value> = self.gone.iter().map(Gone::to_json).collect();
        Ok(json!({
            "file": self.file, "format": self.format, "count": self.crontab.count(), "notes": self.crontab.notes,
            "lines": lines, "gone": gone,
        }))
    }
}

impl Gone {
    fn to_json(&self) -> Value {
        match &self.result {
            GoneResult::Stays => json!({"job": self.name, "result": "stays"}),
            GoneResult::Deleted => json!({"job": self.name, "result": "deleted"}),
            GoneResult::Kept(why) => json!({"job": self.name, "result": "stays", "error": why}),
        }
    }
}
