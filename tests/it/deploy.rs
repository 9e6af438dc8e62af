//! The files under `deploy/` and the commands in the documents name what the binary knows.

use std::{collections::BTreeMap, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};

fn root(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(root(path)).with_context(|| format!("read {path}"))
}

/// What the binary prints with these arguments, and nothing of ours in its environment.
fn quorate(arguments: &[&str]) -> Result<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args(arguments)
        .env_clear()
        .env("HOME", "/nonexistent")
        .output()
        .with_context(|| format!("start quorate {arguments:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "quorate {arguments:?} ended with {}: {said}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Checks that the binary knows the subcommands and the long flags of a command line. Words that a document stands
/// something else in for (`FILE`, `"30 2 * * *"`) are not looked at.
fn known(line: &str, helps: &mut BTreeMap<String, String>) -> Result<()> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut path: Vec<&str> = Vec::new();
    for word in &words {
        let asked = path.join(" ");
        let help = help(&path, helps)?;
        let is_command = |name: &str| {
            help.lines().any(|line| {
                line.trim_start().split([' ', ',']).next() == Some(name) && line.starts_with("  ")
            })
        };
        if let Some(flag) = word.strip_prefix("--").map(|flag| flag.split('=').next().unwrap_or(flag)) {
            ensure!(help.contains(&format!("--{flag}")), "quorate {asked}: has no --{flag} (in {line:?})");
        } else if path.len() < 2 && !word.starts_with('-') && is_command(word) {
            path.push(word);
        } else if path.is_empty() {
            anyhow::bail!("quorate has no command {word} (in {line:?})");
        }
    }
    ensure!(!path.is_empty(), "{line:?} names no command");
    Ok(())
}

fn help<'a>(path: &[&str], helps: &'a mut BTreeMap<String, String>) -> Result<&'a str> {
    let key = path.join(" ");
    if !helps.contains_key(&key) {
        let arguments: Vec<&str> = path.iter().copied().chain(["--help"]).collect();
        helps.insert(key.clone(), quorate(&arguments)?);
    }
    Ok(helps[&key].as_str())
}

/// Joins lines that end with a backslash.
fn joined(text: &str) -> String {
    text.replace("\\\n", " ")
}

#[test]
fn example_configurations_are_read() -> Result<()> {
    for role in ["manager", "worker", "dev"] {
        let file = root(&format!("deploy/config/{role}.example.toml"));
        let shown = quorate(&["config", role, "--config", &file.to_string_lossy()])?;
        ensure!(
            shown.contains("example.toml"),
            "quorate config {role} does not say what came from the file:\n{shown}"
        );
    }
    Ok(())
}

#[test]
fn commented_settings_of_the_examples_are_read_as_well() -> Result<()> {
    let folder = tempfile::tempdir().context("make a directory")?;
    for role in ["manager", "worker", "dev"] {
        let text = read(&format!("deploy/config/{role}.example.toml"))?;
        let is_setting = |line: &str| {
            line.split_once(" = ")
                .is_some_and(|(key, _)| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        };
        let needs_a_file = |line: &str| {
            ["etcd_password_file", "etcd_user", "registry_auth"].iter().any(|key| line.starts_with(key))
        };
        let all: Vec<&str> = text
            .lines()
            .map(|line| line.strip_prefix("# ").filter(|rest| is_setting(rest)).unwrap_or(line))
            .filter(|line| !needs_a_file(line))
            .collect();
        let file = folder.path().join(format!("{role}.toml"));
        std::fs::write(&file, all.join("\n")).context("write it without its comments")?;
        quorate(&["config", role, "--config", &file.to_string_lossy()])?;
    }
    Ok(())
}

#[test]
fn example_jobs_are_right() -> Result<()> {
    let mut seen = 0;
    for file in std::fs::read_dir(root("deploy/examples")).context("read deploy/examples")? {
        let path = file?.path();
        if path.extension().is_none_or(|extension| extension != "yaml" && extension != "json") {
            continue;
        }
        let text = std::fs::read_to_string(&path)?;
        // One job, or a list; JSON is YAML.
        let jobs: serde_json::Value =
            serde_norway::from_str(&text).with_context(|| path.display().to_string())?;
        let jobs = match jobs {
            serde_json::Value::Array(jobs) => jobs,
            one => vec![one],
        };
        for job in jobs {
            let job = common::job::Job::from_value(job).with_context(|| path.display().to_string())?;
            job.check(chrono::DateTime::UNIX_EPOCH)
                .with_context(|| format!("{}: {}", path.display(), job.name))?;
            seen += 1;
        }
    }
    ensure!(seen >= 3, "only {seen} example jobs found");
    Ok(())
}

#[test]
fn units_start_commands_that_there_are() -> Result<()> {
    let mut helps = BTreeMap::new();
    for unit in ["quorate-manager", "quorate-worker", "quorate-dev"] {
        let text = read(&format!("deploy/systemd/{unit}.service"))?;
        let start = text
            .lines()
            .find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/quorate "))
            .with_context(|| format!("{unit} has no ExecStart"))?;
        known(start, &mut helps)?;
        let sections: Vec<&str> = text.lines().filter(|line| line.starts_with('[')).collect();
        ensure!(sections == ["[Unit]", "[Service]", "[Install]"], "{unit} has the sections {sections:?}");
    }
    Ok(())
}

#[test]
fn compose_starts_commands_that_there_are() -> Result<()> {
    let text = read("deploy/compose.yaml")?;
    ensure!(!text.contains('\t'), "YAML has no tabs");
    let mut helps = BTreeMap::new();
    let commands: Vec<String> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("command: ["))
        .map(|line| line.trim_end_matches(']').replace(['"', ','], " "))
        .filter(|line| !line.trim_start().starts_with("etcd"))
        .collect();
    ensure!(commands.len() == 4, "compose starts {commands:?}, not two managers and two workers");
    commands.iter().try_for_each(|line| known(line, &mut helps))
}

#[test]
fn documents_name_commands_that_there_are() -> Result<()> {
    let mut helps = BTreeMap::new();
    let mut seen = 0;
    for document in ["README.md", "docs/install.md", "docs/operate.md", "docs/migrate.md", "docs/cli.md"] {
        let text = joined(&read(document)?);
        // Every second part between fences is code.
        let code = text.split("```").skip(1).step_by(2).flat_map(str::lines);
        for line in
            code.flat_map(|line| line.split(" | ")).map(|line| line.trim().trim_start_matches("sudo "))
        {
            let command = ["quorate ", "cargo run --release -- ", "target/release/quorate "]
                .iter()
                .find_map(|start| line.strip_prefix(start));
            if let Some(command) = command {
                let words = command.split(" #").next().unwrap_or_default().trim_end_matches(['&', ' ']);
                known(words, &mut helps).with_context(|| document.to_owned())?;
                seen += 1;
            }
        }
    }
    ensure!(seen > 10, "only {seen} commands found: are they looked for rightly?");
    Ok(())
}

#[test]
fn documents_link_to_files_that_there_are() -> Result<()> {
    for document in ["README.md", "docs/install.md", "docs/operate.md", "docs/migrate.md"] {
        let text = read(document)?;
        let folder = root(document);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            if link.is_empty() || link.contains("://") {
                continue;
            }
            let path = folder.with_file_name("").join(link);
            ensure!(path.exists(), "{document} links to {link}, which is not there");
        }
    }
    Ok(())
}
