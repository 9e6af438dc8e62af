use std::path::PathBuf;

use super::{settings::AuthMode, *};

fn machine() -> Machine {
    Machine {
        zone: Tz::Europe__Berlin,
        is_root: false,
        data_home: Some("/home/joe/.local/share".into()),
        host: "web1".to_owned(),
        engine: "/run/engine.sock".parse().unwrap(),
    }
}

fn file(name: &str, text: &str) -> ConfigFile {
    ConfigFile { path: PathBuf::from(name), text: text.to_owned() }
}

struct Given<'a> {
    role: Role,
    flags: &'a [(&'static str, &'a str)],
    env: &'a [(&'a str, &'a str)],
    file: Option<ConfigFile>,
}

impl Given<'_> {
    fn values(&self) -> Values {
        let env = self.env.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let flags = self.flags.iter().map(|(key, value)| (*key, vec![(*value).to_owned()])).collect();
        let machine = machine();
        Values::merge(Inputs {
            role: self.role,
            flags,
            env: &env,
            file: self.file.as_ref(),
            machine: &machine,
        })
        .unwrap()
    }
}

fn given(role: Role) -> Given<'static> {
    Given { role, flags: &[], env: &[], file: None }
}

fn dev(file: ConfigFile) -> Result<DevSettings, ConfigError> {
    DevSettings::read(&Given { file: Some(file), ..given(Role::Dev) }.values())
}

const CLUSTER: [(&str, &str); 2] = [("etcd", "e1:2379,https://e2:2379"), ("mongodb", "mongodb://m")];

#[test]
fn defaults_are_enough_for_dev() {
    let settings = DevSettings::read(&given(Role::Dev).values()).unwrap();
    assert_eq!(settings.listen.to_string(), "127.0.0.1:8070");
    assert_eq!(settings.data_dir, Path::new("/home/joe/.local/share/quorate/dev"));
    assert_eq!((settings.zone, settings.slots), (Tz::Europe__Berlin, 1024));
    assert_eq!(settings.lease_ttl.as_secs(), 15);
    assert_eq!(settings.hedge.as_millis(), 250);
}

#[test]
fn flag_beats_environment_beats_section_beats_file_beats_default() {
    let toml = "slots = 2\n[dev]\nslots = 3\n[worker]\nslots = 9\n";
    let flags: &[_] = &[("slots", "5")];
    let env: &[_] = &[("QUORATE_SLOTS", "4")];
    for (flags, env, text, slots, origin) in [
        (flags, env, toml, "5", "flag --slots"),
        (&[], env, toml, "4", "environment QUORATE_SLOTS"),
        (&[], &[], toml, "3", "file q.toml [dev]"),
        (&[], &[], "slots = 2", "2", "file q.toml"),
        (&[], &[], "", "1024", "default"),
    ] {
        let given = Given { role: Role::Dev, flags, env, file: Some(file("q.toml", text)) };
        let values = given.values();
        let value = values.get("slots").unwrap();
        assert_eq!((value.texts.join(","), &*value.origin), (slots.to_owned(), origin));
    }
}

#[test]
fn every_setting_is_read_from_the_environment_under_its_name() {
    for setting in key::SETTINGS {
        let variable = setting.variable();
        for role in setting.roles {
            let values = Given { env: &[(&variable, "x")], ..given(*role) }.values();
            assert_eq!(values.get(setting.key).unwrap().texts, ["x"], "{variable}");
        }
    }
}

#[test]
fn unknown_keys_name_themselves_the_file_and_the_key_that_was_meant() {
    let error = dev(file("q.toml", "lisen = \"x\"\nzzz = 1\n[dev]\nslotz = 1\netcd = \"a:1\"\n[wroker]\n"));
    let problems = error.unwrap_err().problems.join("\n");
    for part in [
        "q.toml: unknown key \"lisen\"; did you mean listen?",
        "\"zzz\"",
        "q.toml [dev]: unknown key \"slotz\"; did you mean slots?",
        "\"etcd\"",
        "did you mean worker?",
    ] {
        assert!(problems.contains(part), "{part}: {problems}");
    }
    let warnings =
        Given { env: &[("QUORATE_LISTN", "x"), ("QUORATE_JOB", "j")], ..given(Role::Dev) }.values().warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("QUORATE_LISTEN"));
}

#[test]
fn all_problems_come_together_with_their_origin() {
    let values = Given {
        role: Role::Worker,
        flags: &[("slots", "many"), ("lease_ttl", "1s"), ("etcd_cert", "c.pem")],
        env: &[("QUORATE_LABEL", "disk"), ("QUORATE_ETCD", "nohost")],
        file: Some(file("q.toml", "shell = \"bash\"")),
    }
    .values();
    let problems = WorkerSettings::read(&values).unwrap_err().problems.join("\n");
    for part in [
        "slots (flag --slots)",
        "lease_ttl (flag --lease-ttl)",
        "between 3s and 1h",
        "etcd_cert (flag --etcd-cert)",
        "label (environment QUORATE_LABEL)",
        "etcd (environment QUORATE_ETCD)",
        "mongodb (default): has to be given",
        "shell (file q.toml)",
    ] {
        assert!(problems.contains(part), "{part}: {problems}");
    }
}

#[test]
fn beyond_loopback_nobody_is_served_unasked() {
    let listen = |address: &'static str, auth: Option<&'static str>| {
        let flags: Vec<_> =
            [("listen", address)].into_iter().chain(auth.map(|auth| ("auth", auth))).collect();
        DevSettings::read(&Given { flags: &flags, ..given(Role::Dev) }.values()).map(|settings| settings.auth)
    };
    for address in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1", "[::ffff:127.0.0.1]:1"] {
        assert_eq!(listen(address, None), Ok(AuthMode::On), "{address}");
    }
    for address in ["0.0.0.0:8070", "[::]:8070", "10.0.0.1:8070"] {
        let error = listen(address, None).unwrap_err().to_string();
        assert!(error.contains("--auth off") && error.contains("loopback"), "{error}");
        assert_eq!(listen(address, Some("off")), Ok(AuthMode::Off));
    }
    assert!(listen("127.0.0.1:1", Some("on")).unwrap_err().to_string().contains("not in this release"));
    assert!(listen(":8070", None).unwrap_err().to_string().contains("0.0.0.0:8070"));
}

#[test]
fn a_cluster_is_described_by_file_environment_and_flags() {
    let values = Given {
        flags: &CLUSTER,
        file: Some(file(
            "q.toml",
            "id = \"w1\"\nlabel = { disk = \"ssd\", zone = 3 }\nlisten = \"127.0.0.1:0\"",
        )),
        ..given(Role::Worker)
    }
    .values();
    let settings = WorkerSettings::read(&values).unwrap();
    assert_eq!(settings.etcd.endpoints, ["http://e1:2379", "https://e2:2379"]);
    assert_eq!(settings.labels["disk"], "ssd");
    assert_eq!(settings.labels["zone"], "3");
    assert_eq!(settings.id.unwrap().as_str(), "w1");
    assert!(settings.listen.is_some());
    let unasked = Given { flags: &CLUSTER, ..given(Role::Worker) }.values();
    assert_eq!(WorkerSettings::read(&unasked).unwrap().listen, None);
}

#[test]
fn a_worker_is_reached_by_a_host_and_a_port() {
    let advertise = |text: &'static str| {
        let flags: Vec<_> = CLUSTER.into_iter().chain([("advertise", text)]).collect();
        WorkerSettings::read(&Given { flags: &flags, ..given(Role::Worker) }.values())
            .map(|settings| settings.advertise)
    };
    for good in ["web1:5556", "web-1.example.org:80", "10.0.0.1:5556", "[2001:db8::1]:5556"] {
        assert_eq!(advertise(good), Ok(Some(good.to_owned())));
    }
    assert_eq!(advertise(""), Ok(None));
    for bad in [
        "web1",
        "web1:",
        "web1:0",
        "web1:70000",
        ":5556",
        "0.0.0.0:5556",
        "[::]:5556",
        "::1:5556",
        "a b:1",
        "[x]:1",
    ] {
        let error = advertise(bad).unwrap_err().to_string();
        assert!(error.contains("advertise (flag --advertise)") && error.contains("web1:5556"), "{error}");
    }
}

#[test]
fn secrets_are_not_in_debug_output() {
    let values =
        Given { flags: &[("etcd", "e:1"), ("mongodb", "mongodb://joe:s3cr3t@m")], ..given(Role::Manager) }
            .values();
    let settings = ManagerSettings::read(&values).unwrap();
    assert!(!format!("{settings:?}").contains("s3cr3t"));
    assert_eq!(settings.mongodb.reveal(), "mongodb://joe:s3cr3t@m");
}

#[test]
fn gdts_files_are_read_as_they_are() {
    let text = r#"{"端口": "port of the API", "apiPort": 8071, "apiReadTimeout说明": 1, "etcdEndpoints": ["127.0.0.1:2379"],
        "etcdDialTimeout": 5000, "mongodbUri": "mongodb://127.0.0.1:27017", "mongodbConnectTimeout": 5000,
        "jobLogBatchSize": 100, "jobLogCommitTimeout": 1000, "webroot": "./webroot", "bashPath": "/bin/bash"}"#;
    let values = Given { file: Some(file("manager.json", text)), ..given(Role::Manager) }.values();
    let settings = ManagerSettings::read(&values).unwrap();
    assert_eq!(settings.listen.to_string(), "127.0.0.1:8071");
    assert_eq!(settings.etcd.endpoints, ["http://127.0.0.1:2379"]);
    let warnings = values.warnings.join("\n");
    for part in ["--listen 0.0.0.0:8071 --auth off", "webroot", "jobLogBatchSize"] {
        assert!(warnings.contains(part), "{warnings}");
    }
    let worker = Given { file: Some(file("worker.json", text)), ..given(Role::Worker) }.values();
    let worker = WorkerSettings::read(&worker).unwrap();
    assert_eq!(worker.shell, Path::new("/bin/bash"));
    assert_eq!(worker.engine.address.to_string(), "unix:///run/engine.sock");
    assert_eq!(worker.listen, None);
    // Ours, in JSON, with a key that is nobody's.
    let error = dev(file("q.json", r#"{"slots": 7, "etcdEndpoint": []}"#)).unwrap_err();
    assert!(error.to_string().contains("etcdEndpoint"), "{error}");
}

#[test]
fn a_file_that_does_not_parse_says_where() {
    let error = dev(file("q.toml", "slots = 1\nlisten = = 3\n")).unwrap_err().to_string();
    assert!(error.contains("q.toml is not TOML") && error.contains('2'), "{error}");
    assert!(dev(file("q.json", "{")).unwrap_err().to_string().contains("not JSON"));
    assert!(dev(file("q.toml", "slots = [[1]]")).unwrap_err().to_string().contains("slots"));
}

#[test]
fn the_history_of_etcd_is_bounded_unless_all_of_it_is_wanted() {
    let history = |text: &str| {
        let flags = [CLUSTER[0], CLUSTER[1], ("etcd_history", text)];
        let values = Given { flags: &flags, ..given(Role::Manager) }.values();
        ManagerSettings::read(&values).map(|settings| settings.etcd_history)
    };
    assert_eq!(history("90s").unwrap().unwrap().as_secs(), 90);
    assert!(history("all").unwrap().is_none());
    let problem = history("1s").unwrap_err().problems.join("\n");
    assert!(
        problem.contains("etcd_history (flag --etcd-history)") && problem.contains("between 1m"),
        "{problem}"
    );
}

#[test]
fn what_calls_must_not_reach_is_given_by_kinds() {
    let forbid = |text: &'static str| {
        DevSettings::read(&Given { env: &[("QUORATE_HTTP_FORBID", text)], ..given(Role::Dev) }.values())
            .map(|settings| settings.http_forbid)
    };
    let of = |kinds: &[&str]| worker::driver::Forbidden::of(kinds.iter().copied()).unwrap();
    assert_eq!(forbid(""), Ok(of(&["link-local"])));
    assert_eq!(forbid("loopback, private"), Ok(of(&["loopback", "private", "link-local"])));
    assert_eq!(forbid("none"), Ok(of(&["none"])));
    let error = forbid("localhost").unwrap_err().to_string();
    assert!(
        error.contains("http_forbid (environment QUORATE_HTTP_FORBID)") && error.contains("link-local"),
        "{error}"
    );
}

#[test]
fn the_engines_socket_is_the_machines_unless_one_is_given_and_must_be_of_this_machine() {
    let env = |host: &str| Environment::from([("DOCKER_HOST".to_owned(), host.to_owned())]);
    for (host, engine) in [
        ("unix:///run/podman/podman.sock", "unix:///run/podman/podman.sock"),
        ("tcp://10.0.0.1:2375", "unix:///var/run/docker.sock"),
        ("", "unix:///var/run/docker.sock"),
    ] {
        assert_eq!(Machine::ask(&env(host)).engine.to_string(), engine, "{host}");
    }
    let read = |text: &str| {
        DevSettings::read(&Given { file: Some(file("q.toml", text)), ..given(Role::Dev) }.values())
    };
    let settings = read("docker = \"/run/x.sock\"").unwrap();
    assert_eq!(settings.engine.address.to_string(), "unix:///run/x.sock");
    let error =
        read("docker = \"tcp://10.0.0.1:2375\"\nregistry_auth = \"/no/such/file\"").unwrap_err().to_string();
    assert!(
        error.contains("docker (file q.toml)") && error.contains("registry_auth (file q.toml)"),
        "{error}"
    );
}
