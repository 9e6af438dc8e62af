//! A GDTS client's calls, byte by byte, against a cluster: save, list, log, kill, delete, and the workers.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use test_support::wait::until;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    cluster::PATIENCE,
    options::Options,
    trial::{Trial, Verdict},
};

const NOTHING: &str = r#"{"errno":0,"msg":"success","data":null}"#;
const NO_ITEMS: &str = r#"{"errno":0,"msg":"success","data":[]}"#;
const HELLO: &str = r#"{"name":"hello","command":"echo hello","cronExpr":"* * * * * * *"}"#;
const SLEEPER: &str = r#"{"name":"sleeper","command":"echo sleeps; sleep 60","cronExpr":"* * * * * * *"}"#;
const FIELDS: [&str; 8] =
    ["jobName", "command", "err", "output", "planTime", "scheduleTime", "startTime", "endTime"];

pub(super) async fn run(options: &Options) -> Result<Verdict> {
    let mut trial = Trial::start(&options.layout()).await?;
    let manager = trial.cluster.managers()[0].clone();
    is(&mut trial, "list of none", &get(&manager, "/job/list").await?, NO_ITEMS);
    is(&mut trial, "log of none", &get(&manager, "/job/log?name=hello").await?, NO_ITEMS);
    is(&mut trial, "save", &save(&manager, HELLO).await?, NOTHING);
    is(&mut trial, "save again", &save(&manager, HELLO).await?, &success(HELLO));
    is(&mut trial, "save another", &save(&manager, SLEEPER).await?, NOTHING);
    let list = success(&format!("[{HELLO},{SLEEPER}]"));
    is(&mut trial, "list", &get(&manager, "/job/list").await?, &list);
    let workers = get(&manager, "/worker/list").await?;
    let listed = data(&workers)?.as_array().map_or(0, Vec::len);
    trial.require(listed == trial.cluster.workers().len(), "workers listed", &workers);
    let log = first_log(&manager, "hello").await;
    look_at_log(&mut trial, &log, "echo hello", "hello\n", "");
    kill(&mut trial, &manager).await?;
    is(&mut trial, "delete", &post(&manager, "/job/delete", "name=hello").await?, &success(HELLO));
    is(&mut trial, "delete again", &post(&manager, "/job/delete", "name=hello").await?, NOTHING);
    let bad = save(&manager, r#"{"name":"a","command":"x","cronExpr":"61 * * * *"}"#).await?;
    let refused = bad.starts_with(r#"{"errno":-1,"msg":""#) && bad.ends_with(r#"","data":null}"#);
    trial.require(refused, "a bad expression", &bad);
    Ok(trial.end(None))
}

/// Kills a run that would last a minute.
async fn kill(trial: &mut Trial, manager: &str) -> Result<()> {
    let api = &trial.api;
    until("the sleeper runs", PATIENCE, || async {
        let runs = api.get("/api/v1/jobs/sleeper").await.ok()?;
        let running = runs["status"]["running"].as_array()?;
        (!running.is_empty()).then_some(())
    })
    .await;
    // Its record says so before its first line is written: a killed run that printed nothing is as right.
    is(trial, "kill", &post(manager, "/job/kill", "name=sleeper").await?, NOTHING);
    let log = first_log(manager, "sleeper").await;
    trial.require(log["err"] == "signal: killed", "the killed run's err", &log["err"]);
    post(manager, "/job/delete", "name=sleeper").await?;
    post(manager, "/job/kill", "name=sleeper").await?;
    is(trial, "kill of none", &post(manager, "/job/kill", "name=nothing").await?, NOTHING);
    Ok(())
}

fn look_at_log(trial: &mut Trial, log: &Value, command: &str, output: &str, err: &str) {
    let fields: Vec<&str> = log.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let times: Vec<i64> = FIELDS[4..].iter().filter_map(|name| log[name].as_i64()).collect();
    let in_order = times.len() == 4 && times.is_sorted();
    let texts = log["command"] == command && log["output"] == output && log["err"] == err;
    trial.require(fields == FIELDS && in_order && texts, "a run log", log);
}

async fn first_log(manager: &str, job: &str) -> Value {
    until(&format!("{job} has a run log"), PATIENCE, || async {
        let answer = get(manager, &format!("/job/log?name={job}&skip=0&limit=1")).await.ok()?;
        data(&answer).ok()?.as_array()?.first().cloned()
    })
    .await
}

fn data(answer: &str) -> Result<Value> {
    let mut answer: Value = serde_json::from_str(answer).context("an answer that is JSON")?;
    Ok(answer["data"].take())
}

fn success(data: &str) -> String {
    format!(r#"{{"errno":0,"msg":"success","data":{data}}}"#)
}

fn is(trial: &mut Trial, what: &str, answer: &str, expected: &str) {
    trial.require(answer == expected, what, answer);
}

async fn get(manager: &str, path: &str) -> Result<String> {
    raw(manager, &format!("GET {path} HTTP/1.1\r\nHost: {manager}\r\nConnection: close\r\n\r\n")).await
}

/// `job=` with the JSON escaped, as `curl --data-urlencode` sends it.
async fn save(manager: &str, job: &str) -> Result<String> {
    let escaped: String = job.bytes().map(|byte| format!("%{byte:02X}")).collect();
    post(manager, "/job/save", &format!("job={escaped}")).await
}

async fn post(manager: &str, path: &str, form: &str) -> Result<String> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: {manager}\r\nUser-Agent: curl/7.88.1\r\nAccept: */*");
    let kind = format!("Content-Length: {}\r\nContent-Type: application/x-www-form-urlencoded", form.len());
    raw(manager, &format!("{head}\r\n{kind}\r\nConnection: close\r\n\r\n{form}")).await
}

/// The body of the answer to these bytes, whose status has to be 200.
async fn raw(manager: &str, request: &str) -> Result<String> {
    let mut answer = String::new();
    let exchange = async {
        let mut stream = TcpStream::connect(manager).await?;
        stream.write_all(request.as_bytes()).await?;
        stream.read_to_string(&mut answer).await
    };
    timeout(Duration::from_secs(20), exchange)
        .await
        .context("no answer in 20 s")?
        .context("call the manager")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without a body")?;
    anyhow::ensure!(head.starts_with("HTTP/1.1 200 "), "{head}");
    Ok(body.to_owned())
}
