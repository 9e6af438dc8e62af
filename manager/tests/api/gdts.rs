//! GDTS's routes, byte by byte, as its clients call them.

use common::{run::RunState, runlog::LogEntry};

use super::{
    runs::record,
    support::{Answer, Bench},
};

const NULL: &str = r#"{"errno":0,"msg":"success","data":null}"#;

#[track_caller]
fn is(answer: &Answer, bytes: &str) {
    assert_eq!((answer.status, answer.text.as_str()), (200, bytes));
}

#[track_caller]
fn refuses(answer: &Answer, with: &str) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.text.starts_with(r#"{"errno":-1,"msg":""#), "{answer:?}");
    assert!(answer.text.ends_with(r#"","data":null}"#), "{answer:?}");
    assert!(answer.text.contains(with), "{answer:?}");
}

/// `job=` with the JSON escaped as curl's `--data-urlencode` does.
async fn save(bench: &Bench, json: &str) -> Answer {
    let escaped: String = json.bytes().map(|byte| format!("%{byte:02X}")).collect();
    bench.form("/job/save", &format!("job={escaped}")).await
}

#[tokio::test]
async fn jobs_are_saved_listed_and_deleted_in_the_documented_bytes() {
    let bench = Bench::start().await;
    is(&bench.get("/job/list").await, r#"{"errno":0,"msg":"success","data":[]}"#);
    is(&save(&bench, r#"{"name":"b","command":"echo <b> & 'x'","cronExpr":"*/5 * * * * * *"}"#).await, NULL);
    is(&save(&bench, r#"{"name":"a","command":"date","cronExpr":"@hourly"}"#).await, NULL);
    is(
        &save(&bench, r#"{"name":"b","command":"date","cronExpr":"0 0 * * *"}"#).await,
        r#"{"errno":0,"msg":"success","data":{"name":"b","command":"echo <b> & 'x'","cronExpr":"*/5 * * * * * *"}}"#,
    );
    is(
        &bench.get("/job/list").await,
        concat!(
            r#"{"errno":0,"msg":"success","data":[{"name":"a","command":"date","cronExpr":"@hourly"},"#,
            r#"{"name":"b","command":"date","cronExpr":"0 0 * * *"}]}"#
        ),
    );
    is(
        &bench.form("/job/delete", "name=a").await,
        r#"{"errno":0,"msg":"success","data":{"name":"a","command":"date","cronExpr":"@hourly"}}"#,
    );
    is(&bench.form("/job/delete", "name=a").await, NULL);
    is(&bench.form("/job/kill", "name=b").await, NULL);
    is(&bench.form("/job/kill", "name=nothing").await, NULL);
    assert!(bench.entry(&bench.keys.kills.key("b")).await.is_some());
    assert!(bench.entry(&bench.keys.kills.key("nothing")).await.is_none());
}

#[tokio::test]
async fn saving_over_a_job_keeps_what_the_form_cannot_express() {
    let bench = Bench::start().await;
    let native = r#"{"trigger": {"cron": ["0 1 * * *", "0 2 * * *"], "zone": "Asia/Tokyo"}, "timeout": "2h",
                     "driver": {"exec": {"argv": ["/bin/echo", "a b"]}}}"#;
    assert_eq!(bench.send_json("PUT", "/api/v1/jobs/a", native).await.status, 201);
    let shown = r#"{"name":"a","command":"/bin/echo 'a b'","cronExpr":"0 1 * * *; 0 2 * * *"}"#;
    is(&bench.get("/job/list").await, &format!(r#"{{"errno":0,"msg":"success","data":[{shown}]}}"#));
    save(&bench, r#"{"name":"a","command":"date","cronExpr":"0 3 * * *","overlap":"allow"}"#).await;
    let job = bench.get("/api/v1/jobs/a").await.json();
    assert_eq!(job["trigger"], serde_json::json!({"cron": ["0 3 * * *"], "zone": "Asia/Tokyo"}));
    assert_eq!((&job["timeout"], &job["overlap"]), (&"2h".into(), &"allow".into()));
    assert_eq!(job["driver"], serde_json::json!({"shell": {"command": "date"}}));
}

#[tokio::test]
async fn a_run_log_has_exactly_the_eight_fields_newest_first() {
    let bench = Bench::start().await;
    is(&bench.get("/job/log?name=a").await, r#"{"errno":0,"msg":"success","data":[]}"#);
    for (n, state) in [(1, RunState::Succeeded), (2, RunState::Failed)] {
        let run = format!("01935d2e-7b1c-7c3e-9a51-00000000000{n}");
        let record = record("a", &run, &format!("2026-11-22T09:00:0{n}Z"), state);
        bench.append(&[LogEntry::Run(Box::new(record))]).await;
    }
    let first = concat!(
        r#"{"jobName":"a","command":"echo hällo","err":"","output":"hällo\nwörld\n","planTime":1795338001000,"#,
        r#""scheduleTime":1795338001001,"startTime":1795338001002,"endTime":1795338001030}"#
    );
    let second = concat!(
        r#"{"jobName":"a","command":"echo hällo","err":"exit status 1","output":"hällo\nwörld\n","#,
        r#""planTime":1795338002000,"scheduleTime":1795338002001,"startTime":1795338002002,"endTime":1795338002030}"#
    );
    let answer = |records: &str| format!(r#"{{"errno":0,"msg":"success","data":[{records}]}}"#);
    is(&bench.get("/job/log?name=a").await, &answer(&format!("{second},{first}")));
    is(&bench.get("/job/log?name=a&skip=1&limit=1").await, &answer(first));
    is(&bench.get("/job/log?name=a&limit=1").await, &answer(second));
    is(&bench.get("/job/log?name=a&skip=x&limit=-7").await, &answer(&format!("{second},{first}")));
    is(&bench.get("/job/log?name=a&limit=99999").await, &answer(&format!("{second},{first}")));
}

#[tokio::test]
async fn workers_are_listed_by_address_or_id() {
    let bench = Bench::start().await;
    is(&bench.get("/worker/list").await, r#"{"errno":0,"msg":"success","data":[]}"#);
    bench.register("w1", "10.0.0.1:5556").await;
    bench.register("w2", "").await;
    bench.until("/api/v1/workers", |list| list.names("id").len() == 2).await;
    is(&bench.get("/worker/list").await, r#"{"errno":0,"msg":"success","data":["10.0.0.1:5556","w2"]}"#);
}

#[tokio::test]
async fn what_is_wrong_is_said_in_the_same_form() {
    let bench = Bench::start().await;
    refuses(&bench.get("/job/save").await, "takes POST");
    refuses(&bench.post("/job/list").await, "takes GET");
    refuses(&bench.form("/job/save", "").await, "job\\\" is missing");
    refuses(&bench.form("/job/delete", "nome=a").await, "name\\\" is missing");
    refuses(&bench.get("/job/log").await, "name\\\" is missing");
    refuses(&bench.send_json("POST", "/job/save", "{}").await, "x-www-form-urlencoded");
    refuses(&save(&bench, "{").await, "is not JSON");
    refuses(&save(&bench, r#"{"name":"a/b","command":"date","cronExpr":"@daily"}"#).await, "contains '/'");
    refuses(&save(&bench, r#"{"name":"a","command":"","cronExpr":"@daily"}"#).await, "driver.shell.command");
    refuses(
        &save(&bench, r#"{"name":"a","command":"x","cronExpr":"0 50-10 * * * * x"}"#).await,
        "trigger.cron[0]",
    );
    refuses(&save(&bench, r#"{"name":"a","command":"x","cronExpr":"0 0 30 2 *"}"#).await, "never comes");
    refuses(&save(&bench, r#"{"name":"a","command":"x","cronExpr":"@daily","colour":1}"#).await, "colour");
    is(&bench.get("/job/list").await, r#"{"errno":0,"msg":"success","data":[]}"#);
}

#[tokio::test]
async fn a_refused_edit_changes_nothing() {
    let bench = Bench::start().await;
    save(&bench, r#"{"name":"a","command":"date","cronExpr":"@daily"}"#).await;
    let before = bench.get("/job/list").await.text;
    refuses(&save(&bench, r#"{"name":"a","command":"x","cronExpr":"61 * * * *"}"#).await, "61");
    assert_eq!(bench.get("/job/list").await.text, before);
}

#[tokio::test]
async fn a_form_that_is_too_large_is_refused() {
    let bench = Bench::start().await;
    refuses(&bench.form("/job/save", &format!("job={}", "x".repeat(1 << 20))).await, "is larger than");
    let long = "x".repeat(130 * 1024);
    let job = format!(r#"{{"name":"a","command":"{long}","cronExpr":"@daily"}}"#);
    refuses(&save(&bench, &job).await, "larger than");
}

#[tokio::test]
async fn every_form_that_the_fuzzer_starts_from_is_saved_and_stays_as_it_was() {
    let bench = Bench::start().await;
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fuzz/seeds/gdts");
    let mut saved = 0;
    for seed in std::fs::read_dir(seeds).unwrap() {
        let input = std::fs::read_to_string(seed.unwrap().path()).unwrap();
        // The first byte is the route.
        let Some(form) = input.strip_prefix('\0') else { continue };
        is(&bench.form("/job/save", form).await, NULL);
        let definition = async || {
            let mut job = bench.get("/api/v1/jobs").await.json()["items"][0].take();
            job.as_object_mut().unwrap().remove("status");
            job
        };
        let (before, shown) =
            (definition().await, bench.get("/job/list").await.json()["data"][0].to_string());
        let again = save(&bench, &shown).await;
        is(&again, &format!(r#"{{"errno":0,"msg":"success","data":{shown}}}"#));
        assert_eq!(definition().await, before);
        bench.delete(&format!("/api/v1/jobs/{}", before["name"].as_str().unwrap())).await;
        saved += 1;
    }
    assert!(saved >= 3, "only {saved} were saved");
}
