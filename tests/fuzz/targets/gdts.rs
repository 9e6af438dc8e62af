//! GDTS's forms and queries, as its clients send them: every answer is 200 with `errno`, `msg` and `data`, in this
//! order. A job that was saved is listed in three keys, and posted again as it is listed it stays as it was, in all
//! that this form cannot express as well.
//!
//! The first byte chooses the route; then comes the form or the query.

#![no_main]

use std::sync::{LazyLock, Mutex};

use fuzz::served::Served;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

const FORM: &str = "application/x-www-form-urlencoded";

static SERVED: LazyLock<Mutex<Served>> = LazyLock::new(Mutex::default);

fuzz_target!(|input: &[u8]| {
    let [route, given @ ..] = input else { return };
    let mut served = SERVED.lock().expect("a panic ends it all");
    let served = served.fresh();
    match route % 6 {
        0 => save(served, given),
        1 => drop(post(served, "/job/delete", given)),
        2 => drop(post(served, "/job/kill", given)),
        route => {
            let path = ["/job/list", "/job/log", "/worker/list"][usize::from(route) - 3];
            let Ok(query) = std::str::from_utf8(given) else { return };
            let Some(data) = get(served, &format!("{path}?{query}")) else { return };
            assert!(data.as_array().is_none_or(Vec::is_empty), "nothing is there");
        }
    }
});

fn save(served: &mut Served, form: &[u8]) {
    let saved = post(served, "/job/save", form);
    let Ok(before) = saved else { return };
    assert_eq!(before, Value::Null, "there was nothing before");
    let list = get(served, "/job/list").expect("a path");
    let [shown] = &list.as_array().expect("a list")[..] else { panic!("{list}") };
    let keys: Vec<&String> = shown.as_object().expect("a job").keys().collect();
    assert_eq!(keys, ["name", "command", "cronExpr"]);
    let name = shown["name"].as_str().expect("a name");
    let native = definition(served, name);
    assert_eq!(post(served, "/job/save", &pair("job", &shown.to_string())).as_ref(), Ok(shown));
    assert_eq!(definition(served, name), native, "it came back as it was shown");
    assert_eq!(post(served, "/job/delete", &pair("name", name)).as_ref(), Ok(shown));
    assert_eq!(get(served, "/job/list"), Some(json!([])));
}

/// The job in the native API, without its status.
fn definition(served: &mut Served, name: &str) -> Value {
    let path = format!("/api/v1/jobs/{}", encoded(name));
    let answer = served.send("GET", &path, "", b"").expect("an encoded path");
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut job: Value = serde_json::from_str(&answer.text).expect("JSON");
    job.as_object_mut().expect("a job").remove("status");
    job
}

fn post(served: &mut Served, path: &str, form: &[u8]) -> Result<Value, String> {
    let answer = served.send("POST", path, FORM, form).expect("a path of this file");
    read(answer.status, &answer.text)
}

fn get(served: &mut Served, path: &str) -> Option<Value> {
    let answer = served.send("GET", path, "", b"")?;
    Some(read(answer.status, &answer.text).unwrap_or_default())
}

fn read(status: u16, text: &str) -> Result<Value, String> {
    assert_eq!(status, 200, "{text}");
    let answer: Value = serde_json::from_str(text).expect("JSON");
    let keys: Vec<&String> = answer.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["errno", "msg", "data"]);
    let message = answer["msg"].as_str().expect("a text");
    match answer["errno"].as_i64() {
        Some(0) => {
            assert_eq!(message, "success");
            Ok(answer["data"].clone())
        }
        Some(-1) => {
            assert!(!message.is_empty() && !message.contains("something failed that should not"), "{message}");
            assert_eq!(answer["data"], Value::Null);
            Err(message.to_owned())
        }
        other => panic!("{other:?}"),
    }
}

fn pair(name: &str, value: &str) -> Vec<u8> {
    format!("{name}={}", encoded(value)).into_bytes()
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
