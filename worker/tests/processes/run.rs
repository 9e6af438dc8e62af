//! What a run finds, prints and ends with.

use std::{collections::BTreeMap, os::unix::fs::PermissionsExt as _, time::Duration};

use common::{
    job::{Command, Environment, Shell},
    runlog::{Piece, Stream},
    span::ByteSize,
};
use nix::unistd::geteuid;
use worker::{
    driver::Exit,
    guard::{self, GuardHandle},
    output::Output,
};

use crate::support::{Bench, exec, shell, shell_in, spec, until};

#[tokio::test]
async fn an_exit_code_and_a_signal_are_told_apart() {
    let bench = Bench::new();
    assert_eq!(bench.shell("exit 0").await.0, Exit::Code(0));
    assert_eq!(bench.shell("exit 3").await.0, Exit::Code(3));
    assert_eq!(bench.shell("kill -KILL $$").await.0, Exit::Signal(9));
    let (exit, output) = bench.start(exec(&["printf", "%s|", "a b", "", "$HOME"])).await.unwrap().end().await;
    assert_eq!((exit, output.text.as_str()), (Exit::Code(0), "a b||$HOME|"));
}

#[tokio::test]
async fn a_job_may_name_its_shell() {
    let command = Shell { command: "-x".into(), shell: Some("/bin/echo".into()), ..Shell::default() };
    let (_, output) = Bench::new().start(Command::Shell(command)).await.unwrap().end().await;
    assert_eq!(output.text, "-c -x\n");
}

#[tokio::test]
async fn output_keeps_its_order_and_its_streams() {
    let bench = Bench::new();
    let (one, two) = (bench.dir.path().join("1"), bench.dir.path().join("2"));
    let wait = |path: &std::path::Path| format!("until [ -e {} ]; do sleep 0.01; done", path.display());
    let text = format!("printf ab; {}; printf c >&2; {}; printf d", wait(&one), wait(&two));
    let started = bench.start(shell(&text)).await.unwrap();
    started.until_printed("ab").await;
    std::fs::write(one, "").unwrap();
    started.until_printed("abc").await;
    std::fs::write(two, "").unwrap();
    let (exit, output) = started.end().await;
    assert_eq!((exit, output.text.as_str(), output.truncated), (Exit::Code(0), "abcd", 0));
    let pieces: Vec<_> = output.pieces.iter().map(|Piece(_, stream, bytes)| (*stream, *bytes)).collect();
    assert_eq!(pieces, [(Stream::Out, 2), (Stream::Err, 1), (Stream::Out, 1)]);
    assert!(output.pieces.is_sorted_by_key(|piece| piece.0));
}

#[tokio::test]
async fn a_hundred_megabytes_are_counted_and_cut_at_the_limit() {
    let bench = Bench::new();
    let mut spec = spec(shell("head -c 104857600 /dev/zero | tr '\\0' x"));
    std::sync::Arc::get_mut(&mut spec.job).unwrap().output.limit = ByteSize(1 << 20);
    let started = bench.start_spec(&spec).await.unwrap();
    let output = started.output.clone();
    let (exit, collected) = started.end().await;
    assert_eq!(exit, Exit::Code(0));
    assert_eq!(collected.text.len(), 1 << 20);
    assert_eq!(collected.truncated, 104_857_600 - (1 << 20));
    assert_eq!(output.total(), 104_857_600);
}

#[tokio::test]
async fn the_error_at_the_end_of_a_long_output_is_kept() {
    let noise = "head -c 1100000 /dev/zero | tr '\\0' x; echo; echo 'error: no such table' >&2; exit 9";
    let started = Bench::new().start(shell(&format!("echo begins; {noise}"))).await.unwrap();
    let (exit, collected) = started.end().await;
    assert_eq!(exit, Exit::Code(9));
    let (first, last) = collected.text.split_at(usize::try_from(collected.gap.unwrap()).unwrap());
    // Which of two streams has printed last, nobody can tell.
    assert!(first.starts_with("begins\nxxx") && last.contains("error: no such table\n"));
    let came = "begins\n\nerror: no such table\n".len() as u64 + 1_100_000;
    assert_eq!(collected.truncated, came - collected.text.len() as u64);
}

#[tokio::test]
async fn what_a_command_leaves_in_the_background_goes_on_printing_and_the_run_says_that_it_is_not_kept() {
    let bench = Bench::new();
    let done = bench.dir.path().join("done");
    let late = "sleep 2; echo late; head -c 300000 /dev/zero; echo late >&2; echo late";
    let text = format!("({late} && touch {}) & echo now", done.display());
    let started = bench.start(shell(&text)).await.unwrap();
    let output = started.output.clone();
    let (exit, collected) = started.end().await;
    assert_eq!((exit, collected.text.as_str()), (Exit::Code(0), "now\n"));
    assert!(output.has_ended_early() && !done.exists());
    until("it has printed to its end", || done.exists(), |done| *done).await;

    let started = bench.start(shell("(sleep 0.1; echo soon) & echo now")).await.unwrap();
    let output = started.output.clone();
    let (exit, collected) = started.end().await;
    assert_eq!((exit, collected.text.as_str()), (Exit::Code(0), "now\nsoon\n"));
    assert!(!output.has_ended_early());
}

#[tokio::test]
async fn bytes_that_are_no_text_are_replaced() {
    let (_, output) = Bench::new().shell("printf 'a\\377\\376b\\303'").await;
    assert_eq!(output.text, "a\u{FFFD}\u{FFFD}b\u{FFFD}");
    assert_eq!(output.pieces.iter().map(|piece| piece.2 as usize).sum::<usize>(), output.text.len());
}

#[tokio::test]
async fn a_process_finds_its_run_in_its_environment() {
    let session = guard::new_session_token();
    let bench = Bench::with(GuardHandle::absent(), session.clone(), |config| {
        config.environment = [
            ("PATH", "/usr/bin:/bin"),
            ("INHERITED", "yes"),
            ("QUORATE_MONGODB", "mongodb://user:secret@db"),
            ("NOTIFY_SOCKET", "/run/systemd/notify"),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .into();
    });
    let env = [("LEVEL", "9"), ("QUORATE_RUN", "not mine"), ("QUORATE_SERVER", "http://m:8070")];
    let env: BTreeMap<_, _> = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let dir = bench.dir.path().canonicalize().unwrap();
    let environment = Environment { env, dir: dir.to_str().map(Into::into), ..Environment::default() };
    let mut spec = spec(shell_in("pwd; exec env", environment));
    spec.tick = Some("2026-11-22T01:02:03Z".parse().unwrap());
    spec.attempt = 2;
    let (_, output) = bench.start_spec(&spec).await.unwrap().end().await;
    let mut lines: Vec<&str> = output.text.lines().collect();
    assert_eq!(lines.remove(0), dir.to_str().unwrap());
    let (run, session) = (format!("QUORATE_RUN={}", spec.run), format!("QUORATE_SESSION={session}"));
    for expected in [
        "INHERITED=yes",
        "LEVEL=9",
        "QUORATE_SERVER=http://m:8070",
        "QUORATE_JOB=nightly",
        "QUORATE_TICK=2026-11-22T01:02:03Z",
        "QUORATE_ATTEMPT=2",
        "QUORATE_FENCE=7",
        "QUORATE_WORKER=w1",
        &run,
        &session,
    ] {
        assert!(lines.contains(&expected), "{expected} is missing in {lines:?}");
    }
    for absent in ["QUORATE_MONGODB", "NOTIFY_SOCKET"] {
        assert!(!output.text.contains(absent), "{absent} is in {lines:?}");
    }
}

#[tokio::test]
async fn a_manual_run_has_an_empty_tick() {
    let (_, output) = Bench::new().shell("echo \"[${QUORATE_TICK-unset}]\"").await;
    assert_eq!(output.text, "[]\n");
}

#[tokio::test]
async fn standard_input_is_the_text_or_nothing() {
    let bench = Bench::new();
    assert_eq!(bench.shell("cat; echo end").await.1.text, "end\n");
    // More than a pipe holds, and a process that does not read it.
    let text = "0123456789".repeat(10_000);
    let environment = Environment { stdin: Some(text.clone()), ..Environment::default() };
    let (_, output) = bench.start(shell_in("cat", environment.clone())).await.unwrap().end().await;
    assert_eq!(output.text, text);
    assert_eq!(bench.start(shell_in("exit 4", environment)).await.unwrap().end().await.0, Exit::Code(4));
}

#[tokio::test]
async fn what_cannot_be_started_is_refused_in_words() {
    let bench = Bench::new();
    let path = |name: &str| bench.dir.path().join(name).to_str().unwrap().to_owned();
    let (missing, script, plain) = (path("missing"), path("script"), path("plain"));
    std::fs::write(&script, "#!/no/such/interpreter -x\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(&plain, "text").unwrap();
    let long = "x".repeat(200_000);
    for (argv, expected) in [
        (&["no-such-program"][..], "\"no-such-program\" is not in this worker's PATH"),
        (&[&missing], "does not exist on this worker"),
        (&["bin/relative"], "relative path"),
        (&[&script], "its first line names \"/no/such/interpreter\""),
        (&[&plain], "cannot be executed"),
        (&["/bin/echo", &long], "too long"),
    ] {
        let said = bench.refusal(exec(argv)).await;
        assert!(said.contains(expected), "{said}");
    }
    let shell_missing = Shell { command: "true".into(), shell: Some("/bin/nosh".into()), ..Shell::default() };
    let said = bench.refusal(Command::Shell(shell_missing)).await;
    assert!(said.contains("/bin/nosh does not exist"), "{said}");
    let dir = |dir: &str| Environment { dir: Some(dir.into()), ..Environment::default() };
    let said = bench.refusal(shell_in("true", dir("/no/such/dir"))).await;
    assert!(said.contains("working directory /no/such/dir does not exist"), "{said}");
    let said = bench.refusal(shell_in("true", dir(&plain))).await;
    assert!(said.contains("is not a directory"), "{said}");
}

#[tokio::test]
async fn another_user_is_asked_for_in_vain_or_obeyed() {
    let bench = Bench::new();
    let as_user = |user: &str| Environment {
        user: Some(user.into()),
        dir: Some("/".into()),
        env: BTreeMap::from([("SHELL".into(), "/bin/mine".into()), ("LD_DEBUG".into(), "".into())]),
        ..Environment::default()
    };
    let said = bench.refusal(shell_in("true", as_user("no-such-user"))).await;
    assert!(said.contains("user \"no-such-user\" does not exist on this worker"), "{said}");
    if !geteuid().is_root() {
        let said = bench.refusal(shell_in("true", as_user("root"))).await;
        assert!(said.contains("only one that runs as root"), "{said}");
        return;
    }
    let text = "echo \"$(id -un) $(id -G) $HOME $USER $SHELL $(pwd) $QUORATE_JOB\"; env >&2; exit 5";
    let (exit, output) = bench.start(shell_in(text, as_user("nobody"))).await.unwrap().end().await;
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let expected = format!("nobody {} {} nobody /bin/mine / nightly\n", nobody.gid, nobody.dir.display());
    assert!(output.text.contains(&expected), "{}", output.text);
    assert!(!output.text.contains("QUORATE_SHIM_"), "{}", output.text);
    assert_eq!(exit, Exit::Code(5));
    let said =
        bench.refusal(shell_in("true", Environment { dir: Some("/no".into()), ..as_user("nobody") })).await;
    assert!(said.contains("working directory /no does not exist"), "{said}");
    let (exit, output) =
        bench.start(shell_in("id -un; echo $HOME", as_user("root"))).await.unwrap().end().await;
    assert_eq!((exit, output.text.as_str()), (Exit::Code(0), "root\n/root\n"));
}

/// What a process can see of itself, a line each.
// Not through a pipe: its ends are the shell's for a moment.
const SEEN: &str = "pwd; umask; env | grep -E '^(HOME|USER|LOGNAME|SHELL|PATH)=' | sort; \
    ls -m -w 0 /proc/$$/fd; \
    grep -E '^Sig(Blk|Ign)' /proc/self/status | tr -s '\\t ' ' '; readlink /proc/$$/fd/0";

/// The numbers of the handles that this process hands on: 0 to 2, and what whoever started it left open for all.
fn handed_on() -> String {
    const CLOSE_ON_EXEC: u32 = 0o2_000_000;
    let is_handed_on = |path: &std::path::Path| {
        let info = std::fs::read_to_string(path).ok()?;
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
        Some(u32::from_str_radix(flags.trim(), 8).ok()? & CLOSE_ON_EXEC == 0)
    };
    let entries = std::fs::read_dir("/proc/self/fdinfo").expect("/proc");
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let handed_on = paths.filter(|path| is_handed_on(path) == Some(true));
    let mut numbers: Vec<_> =
        handed_on.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect();
    numbers.sort();
    numbers.join(", ")
}

#[tokio::test]
async fn a_process_has_the_surroundings_of_its_account_whatever_the_worker_has() {
    let own = nix::unistd::User::from_uid(geteuid()).unwrap().unwrap();
    let handles = handed_on();
    let home = own.dir.display();
    // As under a service manager without an account, and as under sudo.
    let lacking = vec![];
    let others = [("HOME", "/home/else"), ("USER", "else"), ("LOGNAME", "else"), ("SHELL", "/bin/else")];
    let others = others.map(|(name, value)| (name.into(), value.into())).to_vec();
    for own_environment in [lacking, others] {
        let bench = Bench::with(GuardHandle::absent(), guard::new_session_token(), |config| {
            config.environment = own_environment.clone();
        });
        for (umask, shown) in [(None, "0022"), (Some("077"), "0077"), (Some("2"), "0002")] {
            let (is_plain, umask) = (umask.is_none(), umask.map(str::to_owned));
            let environment = Environment { dir: Some("~".into()), umask, ..Environment::default() };
            let (exit, output) = bench.start(shell_in(SEEN, environment)).await.unwrap().end().await;
            let expected = format!(
                "{home}\n{shown}\nHOME={home}\nLOGNAME={user}\n\
                 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nSHELL={shell}\nUSER={user}\n",
                user = own.name,
                shell = own.shell.display(),
            );
            assert!(output.text.contains(&expected), "{}\n{expected}", output.text);
            let ignored = output.text.lines().find_map(|line| line.strip_prefix("SigIgn: ")).unwrap();
            // 32 and 33 are the C library's own, which a `posix_spawn` of its leaves ignored.
            assert_eq!(u64::from_str_radix(ignored, 16).unwrap() & !(3 << 31), 0, "{}", output.text);
            // The tests' own shim has some more, of the tests' harness.
            for line in ["SigBlk: 0000000000000000", "/dev/null", if is_plain { &handles } else { shown }] {
                assert!(output.text.lines().any(|seen| seen == line), "{line:?}: {}", output.text);
            }
            assert_eq!(exit, Exit::Code(0));
        }
    }
}

#[tokio::test]
async fn a_home_that_is_not_there_keeps_no_job_from_running() {
    if !geteuid().is_root() {
        return;
    }
    let nobody = |dir: &str| Environment {
        user: Some("nobody".into()),
        dir: Some(dir.into()),
        ..Environment::default()
    };
    let bench = Bench::new();
    let (exit, output) = bench.start(shell_in("pwd; umask", nobody("~"))).await.unwrap().end().await;
    assert!(exit == Exit::Code(0) && output.text.ends_with("/\n0022\n"), "{exit:?} {}", output.text);
    let said = bench.refusal(shell_in("true", nobody("~/below"))).await;
    assert!(said.contains("/below does not exist"), "{said}");
}

#[tokio::test]
async fn many_runs_start_at_the_same_time() {
    let bench = Bench::new();
    let runs =
        (0..200).map(|n| {
            let bench = &bench;
            async move {
                (n, bench.start(exec(&["/bin/sh", "-c", &format!("echo {n}")])).await.unwrap().end().await)
            }
        });
    for (n, (exit, output)) in futures::future::join_all(runs).await {
        assert_eq!((exit, output.text), (Exit::Code(0), format!("{n}\n")));
    }
}

#[tokio::test]
async fn the_output_of_a_long_run_is_on_disk_until_it_is_discarded() {
    let bench = Bench::new();
    let started = bench.start(shell("echo early; echo oops >&2; exec sleep 600")).await.unwrap();
    let path = Output::spill_path(bench.dir.path(), &started.run, 1);
    let recovered = || Output::recover(&path).map(|copy| copy.output.text).unwrap_or_default();
    until("the output is on disk", recovered, |text| text == "early\noops\n").await;
    assert_eq!(Output::runs_with_spill(bench.dir.path()).unwrap(), [(started.run, 1, path.clone())]);
    started.kill(Duration::from_secs(20));
    let output = started.output.clone();
    assert_eq!(started.end().await.0, Exit::Signal(15));
    output.discard_spill();
    until("the copy is gone", || path.exists(), |exists| !exists).await;
}
