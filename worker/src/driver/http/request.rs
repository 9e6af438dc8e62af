//! What is sent: the job's method, headers and body, and who calls.

use common::{job::Http, tick::Tick};
use reqwest::{
    Body, Method, Request, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};

use crate::driver::{RunSpec, StartError};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The request of a run.
pub(super) fn build(http: &Http, spec: &RunSpec) -> Result<Request, StartError> {
    let method = Method::from_bytes(http.method.as_bytes()).map_err(|_| {
        StartError::new(format!("{:?} is not a method; right is, for example, POST", http.method))
    })?;
    let url = Url::parse(&http.url)
        .map_err(|error| StartError::new(format!("{:?} is not a URL: {error}", http.url)))?;
    let mut request = Request::new(method, url);
    *request.headers_mut() = headers(http, spec)?;
    let body = match (&http.body, &http.json) {
        (Some(text), _) => Some(Body::from(text.clone())),
        (None, Some(json)) => Some(Body::from(json.to_string())),
        (None, None) => None,
    };
    *request.body_mut() = body;
    Ok(request)
}

/// Ours, then the job's in their place. Who calls is ours alone, also in a job that nobody has checked.
fn headers(http: &Http, spec: &RunSpec) -> Result<HeaderMap, StartError> {
    let mut headers = HeaderMap::new();
    if http.json.is_some() && http.body.is_none() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let run = spec.run.to_string();
    put(&mut headers, IDEMPOTENCY_KEY, &run)?;
    for (name, value) in &http.headers {
        let refused = || StartError::new(format!("{name:?} is not a header that can be sent"));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused())?;
        put(&mut headers, name, value)?;
    }
    let own = [
        ("quorate-job", escaped(spec.job.name.as_str())),
        ("quorate-run", run),
        ("quorate-tick", spec.tick.as_ref().map(Tick::to_string).unwrap_or_default()),
        ("quorate-attempt", spec.attempt.to_string()),
        ("quorate-fence", spec.fence.to_string()),
        ("quorate-worker", escaped(spec.worker.as_str())),
    ];
    for (name, value) in own {
        put(&mut headers, HeaderName::from_static(name), &value)?;
    }
    Ok(headers)
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) -> Result<(), StartError> {
    let what = name.clone();
    let refused = || StartError::new(format!("the header {what} cannot be sent with that value"));
    let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| refused())?;
    headers.try_insert(name, value).map_err(|_| refused())?;
    Ok(())
}

/// A name as a header can carry it: `%` and what is not visible ASCII as in a URL.
fn escaped(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'%' => text.push_str("%25"),
            b' '..=b'~' => text.push(char::from(byte)),
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use common::{
        job::{Command, Job, Trigger},
        revision::Token,
    };

    use super::*;

    fn built(http: &Http) -> Request {
        let job =
            Job::new("täglich 5%".parse().unwrap(), Trigger::Manual, Command::Http(Box::new(http.clone())));
        let spec = RunSpec {
            job: Arc::new(job),
            run: "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b".parse().unwrap(),
            attempt: 2,
            tick: None,
            fence: Token(7),
            worker: "w1".parse().unwrap(),
        };
        build(http, &spec).unwrap()
    }

    fn http(text: &str) -> Http {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_call_says_whose_it_is_and_the_job_says_the_rest() {
        let request = built(&http(r#"{"url": "http://a/b", "method": "PURGE", "json": {"b": 1}}"#));
        let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(
            (request.method().as_str(), header("quorate-job").as_str()),
            ("PURGE", "t%C3%A4glich 5%25")
        );
        let rest = ["quorate-attempt", "quorate-fence", "quorate-worker", "quorate-tick", "content-type"]
            .map(header);
        assert_eq!(rest, ["2", "7", "w1", "", "application/json"]);
        assert_eq!(header("idempotency-key"), header("quorate-run"));
        assert_eq!(request.body().unwrap().as_bytes(), Some(&br#"{"b":1}"#[..]));

        let own = r#"{"url": "http://a", "body": "x", "headers": {"IDEMPOTENCY-key": "k", "Host": "h", "Quorate-Fence": "99"}}"#;
        let request = built(&http(own));
        let header = |name: &str| request.headers()[name].to_str().unwrap();
        assert_eq!((header("idempotency-key"), header("host")), ("k", "h"));
        assert_eq!(
            (header("quorate-fence"), request.headers().get_all("idempotency-key").iter().count()),
            ("7", 1)
        );
    }
}
