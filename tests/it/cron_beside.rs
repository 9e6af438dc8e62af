//! Debian's cron and Quorate side by side, with the same table: what their jobs can see of themselves.
//!
//! cron runs in a mount and a process namespace of its own, with a copy of `/etc`. Where there is no cron, what it gave
//! elsewhere is compared with (`cron_beside.txt`, which `QUORATE_RECORD_CRON=1` writes anew), but for what is the
//! machine's. Both take root, as the table names users: elsewhere the test says that it is skipped.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep},
};

use crate::{
    cli::run,
    support::dev::{Dev, http},
};

/// What a job can see of itself: its first argument names it, the others are shown.
const PROBE: &str = r#"#!/bin/sh
out=$OUT/$1
{
    echo "arguments $*"
    echo "directory $(pwd)"
    echo "umask $(umask)"
    echo "groups $(id -G)"
    echo "user $(id -un)"
    ulimit -a | sed 's/^/limit /'
    ulimit -H -a | sed 's/^/hard limit /'
    env | sort | sed 's/^/variable /'
    # Of a child: the shell itself blocks signals and holds pipes for moments.
    sed -n 's/^Sig\(Blk\|Ign\):\s*/signals \1 /p' /proc/self/status
    ls -m /proc/self/fd
    echo "nice $(nice)"
    [ "$2" = input ] && sed 's/^/input /'
} > "$out.part" 2>&1
mv "$out.part" "$out"
"#;

/// The probes' names, by their lines below.
const PROBES: [&str; 17] = [
    "plain",
    "nobody",
    "percent",
    "escaped",
    "quoted",
    "tilde",
    "relative",
    "background",
    "masked",
    "bash",
    "value",
    "home",
    "path",
    "zone",
    "cronzone",
    "reboot",
    "last",
];

/// PROBE and OUT stand for paths.
const TABLE: &str = r#"# what follows is the same for both
OUT=@OUT@
MAILTO=""
MAILTO=root
* * * * * root @PROBE@ plain
* * * * * nobody @PROBE@ nobody
* * * * * root @PROBE@ percent input%first%second line
* * * * * root @PROBE@ escaped a\%b

* * * * * root @PROBE@ quoted "two words" 'and $HOME' "$HOME"
* * * * * root @PROBE@ tilde ~ ~nobody
* * * * * root cd / && cd - >/dev/null && @PROBE@ relative "$(ls -d . ./)"
* * * * * root (sleep 1; @PROBE@ background) > /dev/null 2>&1 &
* * * * * root umask 027; @PROBE@ masked
SHELL=/bin/bash
# the shell is another one
* * * * * root a=(1 2 3); @PROBE@ bash "${#a[@]}"
SHELL=/bin/sh
  SPACED  =  "  kept"  
EMPTY=""
SINGLE='it is "so"'
VALUE=one # no comment
DOLLAR=$HOME/x
* * * * * root @PROBE@ value "$VALUE" # a comment of the shell
HOME=/usr
* * * * * root @PROBE@ home
HOME=/root
PATH=/bin:/usr/bin:/opt
* * * * * root @PROBE@ path
TZ=Asia/Tokyo
*/1 0-23 1-31 * * root @PROBE@ zone "$(date +\%Z)"
CRON_TZ=Asia/Tokyo
* * * * * root @PROBE@ cronzone
@reboot root @PROBE@ reboot
* * * * * root @PROBE@ last
"#;

/// cron in namespaces of its own, with a copy of `/etc`.
const CRON: &str = r#"set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /var/spool/cron
mount -t tmpfs tmpfs /var/spool/cron
mkdir -m 1730 /var/spool/cron/crontabs
cp -a /etc "$DIR/etc"
rm -rf "$DIR/etc/cron.d" "$DIR/etc/crontab"
mkdir "$DIR/etc/cron.d"
cp "$DIR/cron.table" "$DIR/etc/crontab"
chmod 600 "$DIR/etc/crontab"
for kind in auth account session; do echo "$kind required pam_permit.so"; done > "$DIR/etc/pam.d/cron"
mount --bind "$DIR/etc" /etc
exec "$0" -f
"#;

/// What Quorate's jobs have beside, see docs/migrate.md.
const BESIDE: [&str; 3] = ["QUORATE_", "USER=", "PWD="];

/// What cron's have beside.
const OF_CRON: [&str; 3] = ["MAILTO=", "PWD=", "CRON_TZ="];

/// What cron's jobs saw of themselves, and whose cron it was.
const RECORDED: &str = include_str!("cron_beside.txt");

fn cron() -> Option<PathBuf> {
    let named = std::env::var_os("QUORATE_TEST_CRON").map(PathBuf::from);
    if named.as_ref().is_some_and(|named| named == Path::new("none")) {
        return None;
    }
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin/cron");
    named.into_iter().chain([fetched, "/usr/sbin/cron".into()]).find(|path| path.exists())
}

/// Without what is the machine's, not cron's: its limits and groups, handles that the test was started with, and the
/// C library's own signals (32 on).
fn portable(lines: &[String]) -> Vec<String> {
    const OF_MACHINE: [&str; 4] = ["limit ", "hard limit ", "groups ", "0, 1, "];
    let kept = lines.iter().filter(|line| !OF_MACHINE.iter().any(|kind| line.starts_with(kind)));
    kept.map(|line| match line.strip_prefix("signals ").and_then(|set| set.split_once(' ')) {
        Some((kind, set)) => {
            let set = u64::from_str_radix(set, 16).unwrap_or(u64::MAX);
            format!("signals {kind} {:08x}", set & 0x7fff_ffff)
        }
        None => line.clone(),
    })
    .collect()
}

/// The recorded lines by their probes.
fn recorded() -> BTreeMap<&'static str, Vec<String>> {
    let sections = RECORDED.split("== ").skip(1).filter_map(|section| section.split_once('\n'));
    sections.map(|(name, text)| (name, text.lines().map(str::to_owned).collect())).collect()
}

fn start_cron(cron: &Path, dir: &Path) -> Result<Child> {
    let child = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "/bin/sh", "-c", CRON])
        .arg(cron)
        .env("DIR", dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(dir.join("cron.log"))?)
        .kill_on_drop(true)
        .spawn();
    child.context("start cron in a namespace of its own")
}

/// What a side's probes saw, when all have.
async fn seen(out: &Path, log: &Path) -> Result<BTreeMap<&'static str, String>> {
    let begun = Instant::now();
    loop {
        let missing: Vec<_> = PROBES.iter().filter(|name| !out.join(name).exists()).collect();
        if missing.is_empty() {
            break;
        }
        let log = || fs::read_to_string(log).unwrap_or_default();
        ensure!(begun.elapsed() < Duration::from_secs(150), "{out:?} lacks {missing:?}; {}", log());
        sleep(Duration::from_millis(100)).await;
    }
    PROBES.iter().map(|name| Ok((*name, fs::read_to_string(out.join(name))?))).collect()
}

/// Without what is different on purpose, or belongs to whoever started both.
fn compared(text: &str, side: &str, beside: &[&str]) -> Vec<String> {
    let own: Vec<String> = std::env::vars().map(|(name, _)| name + "=").collect();
    let is_left_out = |line: &str| {
        let Some(variable) = line.strip_prefix("variable ") else { return false };
        let known = ["HOME=", "LOGNAME=", "SHELL=", "PATH="];
        let inherited = !known.iter().any(|name| variable.starts_with(name))
            && own.iter().any(|name| variable.starts_with(name));
        inherited || beside.iter().any(|name| variable.starts_with(name))
    };
    let lines = text.lines().filter(|line| !is_left_out(line));
    // An account without a home starts in the root here, and where cron happens to be there. 32 and 33 are the C
    // library's own signals, which its `posix_spawn` leaves ignored.
    let same = [
        (side, "OUT"),
        ("directory /var/spool/cron", "directory /"),
        ("Ign 0000000180000000", "Ign 0000000000000000"),
    ];
    lines.map(|line| same.iter().fold(line.to_owned(), |line, (from, to)| line.replace(from, to))).collect()
}

/// Quorate's machine does not boot for this test, so that the job is run by hand.
async fn run_what_waits_for_a_boot(dev: &Dev) -> Result<()> {
    let jobs: Value = http().get(format!("{}/api/v1/jobs", dev.url())).send().await?.json().await?;
    let is_for_boot = |job: &&Value| job["trigger"]["cron"].to_string().contains("@reboot");
    let mut names = jobs["items"].as_array().context("jobs")?.iter().filter(is_for_boot);
    let (name, None) = (names.next().context("a job")?, names.next()) else { bail!("several jobs") };
    let name = name["name"].as_str().context("a name")?;
    let run = http().post(format!("{}/api/v1/jobs/{name}/run", dev.url())).send().await?;
    ensure!(run.status().is_success(), "{}", run.text().await?);
    Ok(())
}

#[tokio::test]
async fn jobs_see_of_themselves_what_they_see_under_cron() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: the table that is compared names users, which takes root");
        return Ok(());
    }
    let cron = cron();
    let dir = TempDir::new()?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    let probe = dir.path().join("probe");
    fs::write(&probe, PROBE)?;
    fs::set_permissions(&probe, fs::Permissions::from_mode(0o755))?;
    for side in ["cron", "quorate"] {
        let out = dir.path().join(side);
        fs::create_dir(&out)?;
        fs::set_permissions(&out, fs::Permissions::from_mode(0o777))?;
        let text = TABLE.replace("@OUT@", &out.display().to_string());
        let text = text.replace("@PROBE@", &probe.display().to_string());
        fs::write(dir.path().join(format!("{side}.table")), text)?;
    }
    let running = cron.as_deref().map(|cron| start_cron(cron, dir.path())).transpose()?;
    let dev = Dev::start().await;
    let table = dir.path().join("quorate.table").display().to_string();
    let said = run(&["import", "crontab", "--system", "--server", dev.url(), &table])?;
    ensure!(said.code == Some(0), "{} {}", said.out, said.err);
    run_what_waits_for_a_boot(&dev).await?;
    let log = dir.path().join("cron.log");
    let side = |name: &str| dir.path().join(name).display().to_string();
    let probe = dir.path().display().to_string();
    let lines = |text: &str, name: &str, beside: &[&str]| {
        let lines = compared(text, &side(name), beside);
        lines.iter().map(|line| line.replace(&probe, "DIR")).collect::<Vec<_>>()
    };
    let ours = seen(&dir.path().join("quorate"), &log).await?;
    let mut ours: BTreeMap<_, _> =
        ours.iter().map(|(name, text)| (*name, lines(text, "quorate", &BESIDE))).collect();
    let theirs = match running {
        Some(_) => {
            let theirs = seen(&dir.path().join("cron"), &log).await?;
            let theirs: BTreeMap<_, _> =
                theirs.iter().map(|(name, text)| (*name, lines(text, "cron", &OF_CRON))).collect();
            keep(&theirs)?;
            theirs
        }
        None => {
            ours = ours.into_iter().map(|(name, lines)| (name, portable(&lines))).collect();
            recorded()
        }
    };
    let differ = differences(&ours, &theirs);
    assert!(differ.is_empty(), "probe, Quorate's alone, cron's alone: {differ:#?}");
    Ok(())
}

type Lines = BTreeMap<&'static str, Vec<String>>;

/// What is recorded has to be what this cron gives; it is written anew where that is asked for.
fn keep(theirs: &Lines) -> Result<()> {
    let now: Lines = theirs.iter().map(|(name, lines)| (*name, portable(lines))).collect();
    if std::env::var_os("QUORATE_RECORD_CRON").is_some() {
        let head = RECORDED.split("== ").next().unwrap_or_default();
        let sections = now.iter().map(|(name, lines)| format!("== {name}\n{}\n", lines.join("\n")));
        let text = head.to_owned() + &sections.collect::<String>();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/cron_beside.txt");
        return fs::write(path, text).context("record what cron gives");
    }
    let differ = differences(&recorded(), &now);
    ensure!(differ.is_empty(), "what is recorded of cron is not what it gives: {differ:#?}");
    Ok(())
}

/// Where two sides differ, and what only the one and only the other has.
fn differences(one: &Lines, other: &Lines) -> Vec<(&'static str, Vec<String>, Vec<String>)> {
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|line| !those.contains(line)).cloned().collect()
    };
    let lines = |side: &Lines, name| side.get(name).cloned().unwrap_or_default();
    let both = PROBES.iter().map(|name| (*name, lines(one, name), lines(other, name)));
    both.filter(|(_, one, other)| one != other)
        .map(|(name, one, other)| (name, only(&one, &other), only(&other, &one)))
        .collect()
}
