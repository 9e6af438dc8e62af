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
                import.savings.insert(line, Saving::NotSaved(problem));
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
        let mut given = lines.into_iter().zip(jobs);
        for request in in_requests(&values) {
            let these = given.by_ref().take(request.len());
            let saves = match client.save_jobs(request, existing).await {
                Ok(saves) => saves,
                Err(error) => {
                    savings.extend(these.map(|(line, _)| (line, Saving::without_answer(&error))));
                    return Err(error.into());
                }
            };
            let mut lost = None;
            for (((line, job), value), saved) in these.zip(request).zip(saves) {
                let saving = match saved {
                    Ok(saved) => Saving::Saved(word(saved)),
                    // Without answers no further one is asked for, but what is known of the others is told.
                    Err(error) if error.is_taken() && lost.is_none() => {
                        save_over(client, job, value).await.unwrap_or_else(|(saving, error)| {
                            lost = Some(error);
                            saving
                        })
                    }
                    Err(error) if error.is_in_doubt() => Saving::Unknown,
                    Err(error) => Saving::NotSaved(error.to_string()),
                };
                savings.insert(line, saving);
            }
            if let Some(error) = lost {
                return Err(error.into());
            }
        }
    }
    Ok(())
}

/// Replaces a job as it was looked at, unless it has another origin. An error: the requests get no answers.
async fn save_over(client: &Client, job: &Job, value: &Value) -> Result<Saving, (Saving, ClientError)> {
    let name = job.name.as_str();
    let not = |problem: &str| Ok(Saving::NotSaved(problem.to_owned()));
    let meanwhile = "somebody else changes it at this moment, so it was left alone: import it again";
    let there = match client.job(name).await {
        Ok(there) => there,
        Err(error) if error.is_not_found() => return not(meanwhile),
        Err(error @ ClientError::Refused(_)) => return not(&error.to_string()),
        // It was only looked at.
        Err(error) => return Err((Saving::NotSaved("no answer".to_owned()), error)),
    };
    let origin = there.job.labels.get(SOURCE_LABEL);
    if origin != job.labels.get(SOURCE_LABEL) {
        let origin = origin
            .map_or_else(|| "was not imported".to_owned(), |source| format!("was imported from {source}"));
        return not(&format!(
            "there is a job of this name that {origin}: --prefix-name gives these another, --replace replaces it"
        ));
    }
    match client.replace_job(name, value, there.status.revision).await {
        Ok(saved) => Ok(Saving::Saved(word(saved))),
        Err(error) if error.is_changed() => not(meanwhile),
        Err(error @ ClientError::Refused(_)) => not(&error.to_string()),
        Err(error) => Err((Saving::without_answer(&error), error)),
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
        Ok(json!({
            "file": self.file, "format": self.format, "count": self.crontab.count(), "notes": self.crontab.notes,
            "lines": lines,
        }))
    }
}
