//! Moving in with a crontab: every line is accounted for, nothing of somebody else's is replaced.

use anyhow::{Context as _, Result};
use axum::{
    Router,
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use serde_json::{Value, json};

use crate::{
    cli::{manager, quorate, run_with_input},
    support::dev::Dev,
};

/// Lines of the kinds that packages install.
const SYSTEM: &str = "# system-wide\nSHELL=/bin/sh\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\nMAILTO=root\n\n\
    17 *\t* * *\troot\tcd / && run-parts --report /etc/cron.hourly\n\
    47 6\t* * 7\troot\ttest -x /usr/sbin/anacron || { cd / && run-parts --report /etc/cron.weekly; }\n\
    09,39 * * * * www-data [ -x /usr/lib/php/sessionclean ] && /usr/lib/php/sessionclean\n\
    57 0 * * 0 root if [ $(date +\\%d) -le 7 ]; then /usr/share/mdadm/checkarray --all; fi\n\
    @reboot logcheck nice -n10 /usr/sbin/logcheck -R\n\
    5-55/10 * * * * root command -v sa1 > /dev/null && sa1 1 1\n";

/// What each file's report counts adds up, and how many of them could not be carried over.
fn counts(files: &Value) -> Result<Vec<(u64, u64, u64)>> {
    let mut counts = Vec::new();
    for file in files.as_array().context("a list of files")? {
        let count = |what: &str| file["count"][what].as_u64().context("a number");
        let sum = ["jobs", "settings", "comments", "blank", "problems"].map(count);
        let sum: u64 = sum.into_iter().sum::<Result<u64>>()?;
        assert_eq!(sum, count("lines")?);
        assert_eq!(Some(sum), file["lines"].as_array().map(|lines| lines.len() as u64));
        counts.push((sum, count("jobs")?, count("problems")?));
    }
    Ok(counts)
}

#[test]
fn a_dry_run_shows_the_jobs_and_accounts_for_every_line() -> Result<()> {
    let said = run_with_input(&["import", "crontab", "--system", "--dry-run", "-o", "json", "-"], SYSTEM)?;
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(counts(&serde_json::from_str(&said.out)?)?, [(11, 6, 0)]);
    let said = run_with_input(&["import", "crontab", "--system", "--dry-run", "-"], SYSTEM)?;
    let jobs: Vec<Value> = serde_json::from_str(&said.out)?;
    assert_eq!(jobs.len(), 6);
    assert_eq!(
        jobs[3]["driver"]["shell"]["command"],
        "if [ $(date +%d) -le 7 ]; then /usr/share/mdadm/checkarray --all; fi"
    );
    for part in [
        "11 lines = 6 jobs + 3 settings + 1 comment + 1 blank + 0 not carried over",
        "line 4",
        "no mail",
        "overlap",
    ] {
        assert!(said.err.contains(part), "{part}: {}", said.err);
    }
    Ok(())
}

#[test]
fn what_cannot_be_carried_over_is_reported_by_line_and_fails_the_command() -> Result<()> {
    let text = "* * * * * fine\n61 * * * * never\nCRON_TZ=Mars/Phobos\n0 3 */2 * 1 both days\n";
    let said = run_with_input(&["import", "crontab", "--dry-run", "-"], text)?;
    assert_eq!(said.code, Some(1));
    for part in ["line 2: NOT CARRIED OVER", "minute", "line 3: NOT CARRIED OVER", "line 4: NOT CARRIED OVER"]
    {
        assert!(said.err.contains(part), "{part}: {}", said.err);
    }
    assert_eq!(serde_json::from_str::<Vec<Value>>(&said.out)?.len(), 1);
    Ok(())
}

#[test]
fn the_crontabs_of_this_machine_are_accounted_for() -> Result<()> {
    let dir = std::path::Path::new("/etc/cron.d");
    let mut command = quorate(&["import", "crontab", "--dry-run", "-o", "json"]);
    // A machine without them has nothing to account for.
    let present: Vec<_> =
        [dir, std::path::Path::new("/etc/crontab")].into_iter().filter(|path| path.exists()).collect();
    if present.is_empty() {
        return Ok(());
    }
    let output = command.args(present).output()?;
    counts(&serde_json::from_slice(&output.stdout)?)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_is_repeated_without_doubles_and_replaces_only_its_own() -> Result<()> {
    let dev = Dev::start().await;
    let import = |more: &[&str], text: &str| {
        let mut args = vec!["import", "crontab", "--server", dev.url(), "--zone", "Europe/Berlin"];
        args.extend(more);
        args.push("-");
        run_with_input(&args, text)
    };
    let said = import(&["--system"], SYSTEM)?;
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    assert_eq!(said.out.matches(" created\n").count(), 6, "{}", said.out);
    let said = import(&["--system"], SYSTEM)?;
    assert_eq!(said.out.matches(" unchanged\n").count(), 6, "{}", said.out);

    let own =
        r#"{"name": "crontab-date", "trigger": {"manual": true}, "driver": {"shell": {"command": "mine"}}}"#;
    let said = run_with_input(&["job", "save", "-", "--server", dev.url()], own)?;
    assert_eq!(said.code, Some(0), "{}", said.err);
    let said = import(&[], "* * * * * date\n")?;
    assert_eq!(said.code, Some(1), "{}", said.out);
    assert!(said.out.contains("NOT SAVED") && said.out.contains("was not imported"), "{}", said.out);
    let said = import(&["--prefix-name", "web1 "], "* * * * * date\n")?;
    assert!(said.out.contains("\"web1 crontab-date\"") && said.out.contains(" created\n"), "{}", said.out);
    let said = import(&["--replace"], "* * * * * date\n")?;
    assert!(said.out.contains(" replaced\n"), "{}", said.out);

    let said = run_with_input(&["job", "show", "crontab-date", "--server", dev.url()], "")?;
    let job: Value = serde_json::from_str(&said.out)?;
    assert_eq!(job["driver"]["shell"]["command"], "date");
    assert_eq!(job["trigger"]["zone"], "Europe/Berlin");
    Ok(())
}

/// A manager without jobs.
fn empty() -> Router {
    Router::new().route("/api/v1/jobs", get(r#"{"items": [], "next": null}"#))
}

/// The panic ends the connection without an answer.
async fn hang_up() {
    panic!("it gets no answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_answer_is_lost_may_be_saved() -> Result<()> {
    let url = manager(empty().route("/api/v1/save", post(hang_up))).await?;
    let said = run_with_input(&["import", "crontab", "--server", &url, "-"], "* * * * * date\n")?;
    assert_eq!(said.code, Some(1), "{}", said.out);
    assert!(said.out.contains("UNKNOWN: no answer; it may be saved"), "{}", said.out);
    assert!(said.out.contains("0 saved, 0 not saved, 1 unknown"), "{}", said.out);
    assert!(said.err.contains("no answer came from"), "{}", said.err);
    Ok(())
}

/// Somebody has saved the job since it was at revision 7.
async fn changed_since_7(headers: HeaderMap) -> (StatusCode, &'static str) {
    assert_eq!(headers["if-match"], "\"7\"");
    let problem = r#"{"type": "changed", "title": "The job has changed", "status": 412, "detail": ""}"#;
    (StatusCode::PRECONDITION_FAILED, problem)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_changes_while_it_is_looked_at_is_left_alone() -> Result<()> {
    let text = "* * * * * date\n";
    let said = run_with_input(&["import", "crontab", "--dry-run", "-"], text)?;
    let mut job = serde_json::from_str::<Vec<Value>>(&said.out)?.remove(0);
    job["status"] = json!({"revision": 7, "paused": false, "saved": null, "describe": "", "next": [], "last": null,
                           "running": [], "warning": ""});
    let taken = r#"{"results": [{"job": "crontab-date", "result": "refused", "revision": null,
        "problem": {"type": "job-exists", "title": "The job exists", "status": 409, "detail": ""}}],
        "created": 0, "replaced": 0, "refused": 1, "unknown": 0}"#;
    let routes = empty()
        .route("/api/v1/save", post(taken))
        .route("/api/v1/jobs/{job}", get(job.to_string()).put(changed_since_7));
    let url = manager(routes).await?;
    let said = run_with_input(&["import", "crontab", "--server", &url, "-"], text)?;
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(said.out.contains("NOT SAVED: somebody else is changing it"), "{}", said.out);
    Ok(())
}

/// The commands of all jobs that the manager has, by name.
fn commands(dev: &Dev) -> Result<Vec<(String, String)>> {
    let said = run_with_input(&["job", "list", "-o", "json", "--server", dev.url()], "")?;
    let list: Value = serde_json::from_str(&said.out).with_context(|| said.out.clone())?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = list.as_array().or_else(|| list["items"].as_array()).context("a list of jobs")?;
    Ok(items.iter().map(|job| (text(&job["name"]), text(&job["driver"]["shell"]["command"]))).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_edited_and_imported_again_leaves_nothing_behind_unsaid() -> Result<()> {
    let dev = Dev::start().await;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("ops");
    let import = |more: &[&str], text: &str| {
        std::fs::write(&file, text)?;
        let path = file.display().to_string();
        let mut args = vec!["import", "crontab", "--server", dev.url(), "--zone", "UTC", &path];
        args.extend(more);
        run_with_input(&args, "")
    };
    let said = import(&[], "0 1 * * * /opt/a --x\n0 2 * * * /opt/b\n0 3 * * * /opt/c\n")?;
    assert_eq!(said.out.matches(" created\n").count(), 3, "{}{}", said.out, said.err);

    // A schedule, a command's arguments, a line that goes and one that comes: first looked at, then done, five times.
    let edited = "# ours\n0 1 * * * /opt/a --x --y\n30 2 * * * /opt/b\n0 4 * * * /opt/d\n";
    let said = import(&["--dry-run"], edited)?;
    for part in ["would be changed", "would be created", "\"ops-c\" STILL RUNS: --prune deletes it"] {
        assert!(said.err.contains(part), "{part}: {}", said.err);
    }
    for time in 0..5 {
        let said = import(&[], edited)?;
        assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
        let changed = [" changed\n", " created\n", " unchanged\n"].map(|word| said.out.matches(word).count());
        assert_eq!(changed, if time == 0 { [2, 1, 0] } else { [0, 0, 3] }, "{}", said.out);
        assert!(said.out.contains("no longer in the table: job \"ops-c\" STILL RUNS"), "{}", said.out);
    }
    // A mistake in the table, or an empty one, deletes nothing.
    for broken in ["0 1 * * * /opt/a --x --y\n61 * * * * /opt/b\n", ""] {
        let said = import(&["--prune"], broken)?;
        assert_eq!(said.code, Some(1));
        assert!(said.out.contains("NOT DELETED") && commands(&dev)?.len() == 4, "{}", said.out);
    }
    let said = import(&["--prune"], edited)?;
    assert!(said.code == Some(0) && said.out.contains("\"ops-c\" deleted"), "{}{}", said.out, said.err);
    let of = |name: &str, command: &str| (name.to_owned(), command.to_owned());
    let expected = [of("ops-a-x", "/opt/a --x --y"), of("ops-b", "/opt/b"), of("ops-d", "/opt/d")];
    assert_eq!(commands(&dev)?, expected);

    // What a person changes stays, and is said.
    let said = run_with_input(&["job", "show", "ops-b", "--server", dev.url()], "")?;
    let mut job: Value = serde_json::from_str(&said.out)?;
    job["driver"]["shell"]["command"] = json!("/opt/b --mine");
    job["timeout"] = json!("1h");
    let said = run_with_input(&["job", "save", "-", "--server", dev.url()], &job.to_string())?;
    assert_eq!(said.code, Some(0), "{}", said.err);
    let said = import(&[], edited)?;
    assert!(said.code == Some(0) && said.out.contains("edited by hand since"), "{}", said.out);
    let said = import(&[], &edited.replace("30 2", "45 2"))?;
    assert!(said.code == Some(1) && said.out.contains("NOT SAVED: it was edited by hand"), "{}", said.out);
    let said = import(&["--prune"], "0 1 * * * /opt/a --x --y\n")?;
    assert!(said.code == Some(1) && said.out.contains("\"ops-b\" NOT DELETED"), "{}", said.out);
    assert_eq!(commands(&dev)?, [of("ops-a-x", "/opt/a --x --y"), of("ops-b", "/opt/b --mine")]);
    let said = import(&["--replace"], &edited.replace("30 2", "45 2"))?;
    assert_eq!(said.code, Some(0), "{}", said.out);
    let said = run_with_input(&["job", "show", "ops-b", "--server", dev.url()], "")?;
    let job: Value = serde_json::from_str(&said.out)?;
    assert_eq!((&job["driver"]["shell"]["command"], &job["timeout"]), (&json!("/opt/b"), &json!("1h")));

    // The same file for another machine is another table.
    let said = import(&["--prefix-name", "web2 ", "--require", "host=web2", "--prune"], edited)?;
    assert!(said.out.matches(" created\n").count() == 3 && commands(&dev)?.len() == 6, "{}", said.out);
    Ok(())
}
