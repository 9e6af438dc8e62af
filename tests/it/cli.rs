//! The command line: settings and their order, exit codes, and the client commands against a real `quorate dev`.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::Path,
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result};
use axum::{
    Router, extract,
    response::IntoResponse,
    routing::{get, put},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::dev::Dev;

/// A command that sees no settings of this machine.
pub(crate) fn quorate(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent").env("TZ", "UTC");
    // Named, so that a file of this machine in /etc is not read; it is empty.
    command.env("QUORATE_CONFIG", "/dev/null").args(args).stdin(Stdio::null());
    command
}

/// What a command said, and how it ended.
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: Option<i32>,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code(),
        }
    }
}

pub(crate) fn run(args: &[&str]) -> Result<Said> {
    Ok(quorate(args).output().context("start quorate")?.into())
}

pub(crate) fn run_with_input(args: &[&str], input: &str) -> Result<Said> {
    let mut child = quorate(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start quorate")?;
    let mut stdin = child.stdin.take().context("its standard input")?;
    stdin.write_all(input.as_bytes()).context("write its standard input")?;
    drop(stdin);
    Ok(child.wait_with_output().context("wait for quorate")?.into())
}

/// Ends a `quorate dev` as Ctrl-C does.
#[test]
fn a_dev_that_ends_leaves_its_store_in_one_file() -> Result<()> {
    let dir = TempDir::new()?;
    let data = dir.path().join("data");
    let listen = ["dev", "--listen", "127.0.0.1:0", "--data-dir"];
    let mut dev = quorate(&listen).arg(&data).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut line = String::new();
    BufReader::new(dev.stdout.take().context("its standard output")?).read_line(&mut line)?;
    assert!(line.contains("serves"), "{line}");
    assert!(data.join("store.db-wal").exists(), "it is at work");
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(dev.id().try_into()?),
        nix::sys::signal::Signal::SIGINT,
    )?;
    assert!(dev.wait()?.success());
    assert!(data.join("store.db").exists() && !data.join("store.db-wal").exists());
    Ok(())
}

fn write(dir: &TempDir, name: &str, text: &str) -> Result<String> {
    let path = dir.path().join(name);
    std::fs::write(&path, text).context("write a file")?;
    Ok(path.display().to_string())
}

#[test]
fn next_says_what_an_expression_means_and_when_it_fires() -> Result<()> {
    let from = "2026-11-22T01:02:03Z";
    let said = run(&["next", "30 9 * * MON-FRI", "--zone", "Europe/Berlin", "--from", from, "-n", "2"])?;
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.starts_with("at 09:30 on weekdays (Europe/Berlin)\n"), "{}", said.out);
    assert!(said.out.contains("2026-11-23T09:30:00+01:00"), "{}", said.out);
    let said = run(&["next", "@daily", "--zone", "UTC", "--from", from, "-n", "2", "--output", "json"])?;
    let instants: Vec<String> = serde_json::from_str(&said.out)?;
    assert_eq!(instants, ["2026-11-23T00:00:00Z", "2026-11-24T00:00:00Z"]);
    Ok(())
}

#[test]
fn a_bad_expression_names_the_field_the_text_what_is_allowed_and_an_example() -> Result<()> {
    let said = run(&["next", "30 25 * * *"])?;
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""));
    for part in ["hour", "\"25\"", "allowed: ", "example: "] {
        assert!(said.err.contains(part), "{part}: {}", said.err);
    }
    for args in [
        &["next", "0 0 30 2 *"][..],
        &["next", "* * * * *", "-n", "1001"],
        &["next", "* * * * *", "-n", "0"],
        &["next", "* * * * *", "--from", "soon"],
        &["next", "* * * * *", "--zone", "Europe/Berlni"],
        &["next", "* * * * *", "-o", "yaml"],
        &["next"],
    ] {
        let said = run(args)?;
        assert_eq!(said.code, Some(2), "{args:?}: {}", said.err);
        assert!(!said.err.is_empty());
    }
    Ok(())
}

#[test]
fn a_reader_that_goes_away_is_no_failure() -> Result<()> {
    let mut child = quorate(&["next", "* * * * *", "-n", "1000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start quorate")?;
    // Closed before anything was written.
    drop(child.stdout.take());
    let said = Said::from(child.wait_with_output()?);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    Ok(())
}

#[test]
fn flag_beats_environment_beats_file_beats_default() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = write(&dir, "q.toml", "slots = 2\nhedge = \"100ms\"\nshell = \"/bin/bash\"\n")?;
    let said: Said = quorate(&["--config", &file, "config", "worker", "--slots", "4"])
        .env("QUORATE_SLOTS", "3")
        .env("QUORATE_HEDGE", "200ms")
        .env("QUORATE_ETCD", "e1:2379,e2:2379")
        .env("QUORATE_MONGODB", "mongodb://joe:s3cr3t@m/quorate")
        .output()?
        .into();
    assert_eq!(said.code, Some(0), "{}", said.err);
    let row = |key: &str| {
        let line = said.out.lines().find(|line| line.split_whitespace().next() == Some(key));
        line.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).unwrap_or_default()
    };
    assert_eq!(row("slots"), "slots 4 flag --slots");
    assert_eq!(row("hedge"), "hedge 200ms environment QUORATE_HEDGE");
    assert!(row("shell").starts_with("shell /bin/bash file /"), "{}", row("shell"));
    assert_eq!(row("lease_ttl"), "lease_ttl 15s default");
    assert_eq!(row("etcd"), "etcd e1:2379,e2:2379 environment QUORATE_ETCD");
    assert!(!said.out.contains("s3cr3t") && !said.err.contains("s3cr3t"), "{}", said.out);
    Ok(())
}

#[test]
fn the_settings_of_each_role_are_shown_in_each_form() -> Result<()> {
    for role in ["dev", "manager", "worker", "admin", "client"] {
        for format in ["table", "json"] {
            for args in [["config", role, "-o", format], ["config", "-o", format, role]] {
                let said: Said = quorate(&args)
                    .env("QUORATE_ETCD", "e1:2379")
                    .env("QUORATE_MONGODB", "mongodb://m/quorate")
                    .output()?
                    .into();
                assert_eq!(said.code, Some(0), "{args:?}: {}", said.err);
                assert!(said.out.contains("log_format"), "{args:?}: {}", said.out);
            }
        }
    }
    Ok(())
}

#[test]
fn unknown_keys_and_wrong_values_are_refused_together() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let text = "lisen = \"127.0.0.1:1\"\nslots = \"many\"\nzone = \"Mars\"\nlog_format = \"xml\"\n";
    let file = write(&dir, "q.toml", text)?;
    for args in [&["--config", &file, "dev"][..], &["--config", &file, "config", "dev"]] {
        let said = run(args)?;
        assert_eq!(said.code, Some(2));
        for part in ["q.toml", "did you mean listen?", "slots", "unknown time zone \"Mars\"", "log_format"] {
            assert!(said.err.contains(part), "{part}: {}", said.err);
        }
        assert_eq!(said.err.matches("\"lisen\"").count(), 1, "once: {}", said.err);
    }
    assert_eq!(run(&["--config", "/nonexistent/q.toml", "dev"])?.code, Some(2));
    for args in
        [&["dev", "--nonsense"][..], &["manager"], &["worker"], &["nonsense"], &["job", "list", "-o", "x"]]
    {
        let said = run(args)?;
        assert_eq!(said.code, Some(2), "{args:?}: {}", said.err);
    }
    Ok(())
}

#[test]
fn beyond_loopback_nobody_is_served_without_being_told() -> Result<()> {
    let cluster = ["--etcd", "127.0.0.1:1", "--mongodb", "mongodb://127.0.0.1:1", "--listen", "0.0.0.0:0"];
    for role in ["dev", "manager", "worker"] {
        let mut args = vec![role];
        args.extend(if role == "dev" { &cluster[4..] } else { &cluster[..] });
        let said = run(&args)?;
        assert_eq!(said.code, Some(2), "{role}: {}", said.err);
        assert!(said.err.contains("authentication is not in this release"), "{}", said.err);
        assert!(said.err.contains("--auth off") && said.err.contains("loopback"), "{}", said.err);
    }
    assert!(run(&["dev", "--auth", "on"])?.err.contains("not in this release"));
    Ok(())
}

#[test]
fn a_server_that_does_not_answer_is_named_with_what_to_do() -> Result<()> {
    let said = run(&["job", "list", "--server", "http://127.0.0.1:1"])?;
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("http://127.0.0.1:1") && said.err.contains("quorate dev"), "{}", said.err);
    assert_eq!(run(&["job", "list", "--server", "nonsense"])?.code, Some(2));
    Ok(())
}

/// A manager of a test's own making, which says what it is told to.
pub(crate) async fn manager(routes: Router) -> Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.context("listen on a free port")?;
    let url = format!("http://{}", listener.local_addr()?);
    // It ends with the test's runtime.
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(url)
}

/// One of two pages, by a manager whose etcd is away.
async fn old_page(extract::RawQuery(query): extract::RawQuery) -> impl IntoResponse {
    let is_second = query.is_some_and(|query| query.contains("after="));
    let next = if is_second { "null" } else { "\"a\"" };
    ([("quorate-stale", "no route to etcd")], format!(r#"{{"items": [], "next": {next}}}"#))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_old_is_shown_with_one_warning_and_not_exported() -> Result<()> {
    let routes = Router::new().route("/api/v1/jobs", get(old_page)).route("/api/v1/workers", get(old_page));
    let url = manager(routes).await?;
    for list in ["job", "worker"] {
        let said = run(&[list, "list", "--server", &url])?;
        assert_eq!(said.code, Some(0), "{}", said.err);
        assert_eq!(said.err.matches("no route to etcd").count(), 1, "{}", said.err);
    }
    let dir = tempfile::tempdir()?;
    let file = write(&dir, "jobs.json", "the last good one")?;
    let said = run(&["export", &file, "--server", &url])?;
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""));
    for part in ["jobs.json", "no route to etcd", "try again", "--server"] {
        assert!(said.err.contains(part), "{part}: {}", said.err);
    }
    assert_eq!(std::fs::read_to_string(&file)?, "the last good one");
    assert_eq!(std::fs::read_dir(dir.path())?.count(), 1, "nothing is left beside it");
    let said = run(&["export", "-", "--server", &url])?;
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_without_the_jobs_that_do_not_decode_names_them_and_fails() -> Result<()> {
    let page = r#"{"items": [{"name": "good", "trigger": {"manual": true}, "driver": {"shell": {"command": "date"}},
            "status": {"revision": 1, "paused": false, "saved": null, "describe": "", "next": [], "last": null,
                       "running": [], "warning": ""}}],
        "next": null, "broken": [{"name": "bad", "revision": 2, "problem": "is not JSON"}]}"#;
    let url = manager(Router::new().route("/api/v1/jobs", get(page))).await?;
    let dir = tempfile::tempdir()?;
    let file = write(&dir, "jobs.json", "the one before")?;
    let said = run(&["export", &file, "--server", &url])?;
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(said.err.contains("\"bad\"") && said.err.contains("is not JSON"), "{}", said.err);
    let written: Value = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
    assert_eq!((written[0]["name"].as_str(), written.as_array().map(Vec::len)), (Some("good"), Some(1)));
    assert_eq!(run(&["export", "-", "--server", &url])?.code, Some(1));
    Ok(())
}

/// Answers for every job but one.
async fn answer_unless_cut(extract::Path(job): extract::Path<String>) -> &'static str {
    // The panic ends the connection without an answer.
    assert_ne!(job, "cut", "it gets no answer");
    "{}"
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_whose_answer_is_lost_are_unknown_and_the_others_are_told() -> Result<()> {
    let url = manager(Router::new().route("/api/v1/jobs/{job}", put(answer_unless_cut))).await?;
    let dir = tempfile::tempdir()?;
    let jobs = ["saved", "cut", "behind"]
        .map(|name| format!(r#"{{"name": "{name}", "status": {{"revision": 7}}}}"#))
        .join("\n");
    let file = write(&dir, "jobs.json", &jobs)?;
    let said = run(&["job", "save", &file, "-o", "json", "--server", &url])?;
    assert_eq!(said.code, Some(1), "{}", said.err);
    let reports = json(&said)?;
    let told = |n: usize| (reports[n]["job"].as_str(), reports[n]["result"].as_str());
    assert_eq!(told(0), (Some("saved"), Some("replaced")));
    assert_eq!(told(1), (Some("cut"), Some("unknown")));
    assert_eq!(reports.as_array().map(Vec::len), Some(2));
    let sum = "1 of 3 jobs saved, 1 without an answer, perhaps saved, 1 not sent";
    assert!(said.err.contains(sum), "{}", said.err);
    let said = run(&["job", "save", &file, "--server", "http://127.0.0.1:1"])?;
    assert!(said.err.contains("0 of 3 jobs saved, 3 not sent"), "{}", said.err);
    Ok(())
}

/// Runs a client command against a server.
fn ask(dev: &Dev, args: &[&str]) -> Result<Said> {
    let mut all = args.to_vec();
    all.extend(["--server", dev.url()]);
    run(&all)
}

fn json(said: &Said) -> Result<Value> {
    serde_json::from_str(&said.out).with_context(|| format!("no JSON: {:?}, {:?}", said.out, said.err))
}

const JOBS: &str = r#"[
    {"name": "never alone", "trigger": {"manual": true}, "driver": {"shell": {"command": "echo one; sleep 1; echo two"}}},
    {"name": "fails?", "trigger": {"manual": true}, "driver": {"shell": {"command": "exit 3"}}},
    {"name": "sleeps", "trigger": {"manual": true}, "driver": {"shell": {"command": "echo up; sleep 600"}}}
]"#;

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_saved_listed_exported_and_deleted() -> Result<()> {
    let dev = Dev::start().await;
    let dir = tempfile::tempdir()?;
    let file = write(&dir, "jobs.json", JOBS)?;
    let said = ask(&dev, &["job", "save", &file])?;
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.contains("never alone: created"), "{}", said.out);
    assert!(ask(&dev, &["job", "save", &file])?.out.contains("never alone: replaced"));

    let yaml = "name: from yaml\ntrigger: {cron: ['0 4 * * *'], zone: Europe/Berlin}\ndriver: {exec: {argv: [/bin/true]}}\n";
    let said = run_with_input(&["job", "save", "-", "--server", dev.url()], yaml)?;
    assert_eq!(said.code, Some(0), "{}", said.err);
    let listed = json(&ask(&dev, &["job", "list", "-o", "json"])?)?;
    let names: Vec<_> = listed.as_array().context("a list")?.iter().map(|job| &job["name"]).collect();
    assert_eq!(names, ["fails?", "from yaml", "never alone", "sleeps"]);
    assert!(ask(&dev, &["job", "list"])?.out.contains("at 04:00"), "a table for people");

    let bad =
        r#"{"name": "bad", "trigger": {"cron": ["61 * * * *"]}, "driver": {"shell": {"command": "x"}}}"#;
    let said = run_with_input(&["job", "save", "-", "--server", dev.url()], &format!("{bad}\n{JOBS}"))?;
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(said.err.contains("trigger.cron[0]") && said.err.contains("bad"), "{}", said.err);
    assert!(said.out.contains("sleeps: replaced"), "the good ones are saved: {}", said.out);

    let exported = dir.path().join("all.json");
    let said = ask(&dev, &["export", &exported.display().to_string()])?;
    assert_eq!(said.code, Some(0), "{}", said.err);
    for name in ["fails?", "from yaml", "never alone", "sleeps"] {
        assert_eq!(ask(&dev, &["job", "delete", name])?.code, Some(0));
    }
    assert_eq!(json(&ask(&dev, &["job", "list", "-o", "json"])?)?, Value::Array(Vec::new()));
    assert_eq!(ask(&dev, &["job", "delete", "sleeps"])?.code, Some(1), "there is no such job any more");
    let said = ask(&dev, &["job", "save", &exported.display().to_string()])?;
    assert_eq!(said.out.matches(": created").count(), 4, "{}{}", said.out, said.err);
    let shown = json(&ask(&dev, &["job", "show", "from yaml"])?)?;
    assert_eq!(shown["trigger"]["zone"], "Europe/Berlin");
    assert!(Path::new(&exported).exists());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shown_job_is_saved_over_the_one_that_was_shown_and_over_no_other() -> Result<()> {
    let dev = Dev::start().await;
    let dir = tempfile::tempdir()?;
    assert_eq!(ask(&dev, &["job", "save", &write(&dir, "jobs.json", JOBS)?])?.code, Some(0));
    let shown = ask(&dev, &["job", "show", "sleeps"])?.out;
    let edited = write(&dir, "edited.json", &shown.replace("sleep 600", "sleep 500"))?;
    let said = ask(&dev, &["job", "save", &edited])?;
    assert_eq!((said.code, said.out.as_str()), (Some(0), "sleeps: replaced\n"), "{}", said.err);

    let late = write(&dir, "late.json", &shown.replace("sleep 600", "sleep 400"))?;
    let said = ask(&dev, &["job", "save", &late])?;
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{}", said.err);
    for part in ["changed or deleted since", "quorate job show \"sleeps\"", "--force"] {
        assert!(said.err.contains(part), "{part}: {}", said.err);
    }
    assert!(ask(&dev, &["job", "show", "sleeps"])?.out.contains("sleep 500"));
    let job = r#"{"name": "sleeps", "trigger": {"manual": true}, "driver": {"shell": {"command": "true"}},
        "status": {"revision": "17"}}"#;
    let said = ask(&dev, &["job", "save", &write(&dir, "odd.json", job)?])?;
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{}", said.err);
    assert!(said.err.contains(r#"status.revision: "17" is not a revision"#), "{}", said.err);
    assert!(ask(&dev, &["job", "show", "sleeps"])?.out.contains("sleep 500"));
    let said = ask(&dev, &["job", "save", "--force", &late])?;
    assert_eq!((said.code, said.out.as_str()), (Some(0), "sleeps: replaced\n"), "{}", said.err);
    assert!(ask(&dev, &["job", "show", "sleeps"])?.out.contains("sleep 400"));
    Ok(())
}

// Once: the output of the first was left out where the second had begun before the run was looked at.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_followed_through_all_its_attempts() -> Result<()> {
    let dev = Dev::start().await;
    let job = r#"{"name": "tries twice", "trigger": {"manual": true}, "retry": {"attempts": 2, "backoff": "1ms"},
        "driver": {"shell": {"command":
            "if [ $QUORATE_ATTEMPT = 1 ]; then echo a line longer than the other; exit 3; fi; echo second"}}}"#;
    let said = run_with_input(&["job", "save", "-", "--server", dev.url()], job)?;
    assert_eq!(said.code, Some(0), "{}", said.err);
    let said = ask(&dev, &["job", "run", "tries twice", "--follow"])?;
    let whole = "a line longer than the other\nsecond\n";
    assert_eq!((said.code, said.out.as_str()), (Some(0), whole), "{}", said.err);
    assert!(said.err.contains("succeeded"), "{}", said.err);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_followed_to_its_end_and_its_failure_is_ours() -> Result<()> {
    let dev = Dev::start().await;
    let dir = tempfile::tempdir()?;
    assert_eq!(ask(&dev, &["job", "save", &write(&dir, "jobs.json", JOBS)?])?.code, Some(0));
    let said = ask(&dev, &["job", "run", "never alone", "--follow"])?;
    assert_eq!((said.code, said.out.as_str()), (Some(0), "one\ntwo\n"), "{}", said.err);
    assert!(said.err.contains("succeeded"), "{}", said.err);
    let said = ask(&dev, &["job", "run", "fails?", "--follow"])?;
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(said.err.contains("failed") && said.err.contains('3'), "{}", said.err);
    let log = json(&ask(&dev, &["job", "log", "fails?", "-o", "json"])?)?;
    assert_eq!((&log[0]["state"], &log[0]["exit_code"]), (&Value::from("failed"), &Value::from(3)));
    let failed = json(&ask(&dev, &["run", "list", "--state", "failed", "-o", "json"])?)?;
    assert_eq!(failed.as_array().map(Vec::len), Some(1));
    assert_eq!(ask(&dev, &["run", "list", "--state", "done"])?.code, Some(2));
    assert!(ask(&dev, &["worker", "list"])?.out.contains("ready"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_run_is_shown_while_it_runs_and_ends_when_it_is_killed() -> Result<()> {
    let dev = Dev::start().await;
    let dir = tempfile::tempdir()?;
    assert_eq!(ask(&dev, &["job", "save", &write(&dir, "jobs.json", JOBS)?])?.code, Some(0));
    let requested = json(&ask(&dev, &["job", "run", "sleeps", "-o", "json"])?)?;
    let run_id = requested["run"].as_str().context("a run")?.to_owned();
    let mut follower = quorate(&["run", "logs", "-f", &run_id, "--server", dev.url()])
        .stdout(Stdio::piped())
        .spawn()
        .context("start quorate")?;
    let mut lines = BufReader::new(follower.stdout.take().context("its output")?);
    let mut line = String::new();
    lines.read_line(&mut line)?;
    // It sleeps for ten minutes from here: the line came while it runs.
    assert_eq!(line, "up\n");
    assert_eq!(ask(&dev, &["run", "kill", &run_id])?.code, Some(0));
    lines.read_to_string(&mut line)?;
    assert!(follower.wait()?.success());
    let shown = json(&ask(&dev, &["run", "show", &run_id, "-o", "json"])?)?;
    assert_eq!(shown["state"], "killed", "{shown}");
    Ok(())
}
