use serde_json::json;

use super::*;

fn read(value: Value) -> Result<Http, String> {
    let job = json!({"name": "a", "trigger": {"manual": true}, "driver": {"http": value}});
    let job = crate::job::Job::from_value(job).map_err(|error| error.to_string())?;
    job.check(chrono::DateTime::UNIX_EPOCH).map_err(|error| error.to_string())?;
    match job.driver {
        crate::job::Command::Http(http) => Ok(*http),
        other => panic!("{other:?}"),
    }
}

fn wrong(value: Value) -> String {
    read(value).unwrap_err()
}

#[test]
fn a_url_is_enough_and_what_is_read_is_written_alike() {
    let http = read(json!({"url": "https://example.org/hook"})).unwrap();
    assert_eq!(
        (http.text().as_str(), http.expects(204), http.expects(302)),
        ("GET https://example.org/hook", true, false)
    );
    let whole = json!({"method": "POST", "url": "http://10.0.0.1:80/a?b=c", "headers": {"Host": "x", "A": "\tb"},
        "json": {"b": [1, null]}, "expect": [204, "300-399"], "connect_timeout": "2s", "timeout": "1m",
        "redirects": "none", "tls": {"ca": "/a", "cert": "/b", "key": "/c"}});
    assert_eq!(serde_json::to_value(read(whole.clone()).unwrap()).unwrap(), whole);
    let other = read(json!({"url": "http://a", "expect": ["404", "500 - 503"]})).unwrap();
    let expected = [200, 404, 500, 503, 504].map(|status| other.expects(status));
    assert_eq!(expected, [false, true, true, true, false]);
}

#[test]
fn what_is_wrong_is_named_with_what_would_be_right() {
    for (given, field, told) in [
        (json!({}), "driver.http", "missing field `url`"),
        (json!({"url": "example.org"}), "driver.http.url", "is not a URL"),
        (json!({"url": "ftp://example.org"}), "driver.http.url", "neither http nor https"),
        (json!({"url": "http://"}), "driver.http.url", "is not a URL"),
        (json!({"url": "http://a/b c"}), "driver.http.url", "%20"),
        (json!({"url": format!("http://a/{}", "x".repeat(9000))}), "driver.http.url", "longer"),
        (json!({"url": "http://a", "method": "post"}), "driver.http.method", "\"POST\""),
        (json!({"url": "http://a", "method": "CONNECT"}), "driver.http.method", "tunnel"),
        (
            json!({"url": "http://a", "headers": {"content-Length": "1"}}),
            "driver.http.headers.content-Length",
            "connection",
        ),
        (
            json!({"url": "http://a", "headers": {"Quorate-Run": "1"}}),
            "driver.http.headers.Quorate-Run",
            "own",
        ),
        (json!({"url": "http://a", "headers": {"a b": "1"}}), "driver.http.headers.a b", "name of a header"),
        (json!({"url": "http://a", "headers": {"A": "1", "a": "2"}}), "driver.http.headers.a", "twice"),
        (json!({"url": "http://a", "headers": {"A": "1\r\nB: 2"}}), "driver.http.headers.A", "line break"),
        (json!({"url": "http://a", "headers": {"A": 1}}), "driver.http.headers.A", "string"),
        (json!({"url": "http://a", "body": "x", "json": 1}), "driver.http.json", "beside body"),
        (json!({"url": "http://a", "expect": [99]}), "driver.http.expect[0]", "99 is neither a status"),
        (json!({"url": "http://a", "expect": ["299-200"]}), "driver.http.expect[0]", "\"200-299\""),
        (json!({"url": "http://a", "expect": 200}), "driver.http.expect", "200"),
        (json!({"url": "http://a", "timeout": "0s"}), "driver.http.timeout", "no time"),
        (json!({"url": "http://a", "redirects": "all"}), "driver.http.redirects", "\"follow\" or \"none\""),
        (json!({"url": "http://a", "tls": {"ca": "own.pem"}}), "driver.http.tls.ca", "absolute"),
        (json!({"url": "http://a", "tls": {"cert": "/own.pem"}}), "driver.http.tls.cert", "give both"),
        (json!({"url": "http://a", "verb": "GET"}), "driver.http.verb", "unknown field"),
    ] {
        let said = wrong(given.clone());
        assert!(said.starts_with(&format!("{field}: ")) && said.contains(told), "{given}: {said}");
    }
    let said = wrong(json!({"url": "https://joe:s3cret@example.org"}));
    assert!(said.contains("Authorization") && !said.contains("s3cret"), "{said}");
}

#[test]
fn a_retry_goes_by_statuses() {
    let retried: Vec<u16> = (200..600).filter(|status| is_retryable_status(*status)).collect();
    assert_eq!(retried[..4], [408, 425, 429, 500]);
    assert_eq!((retried.len(), retried.last()), (103, Some(&599)));
    let job = |on: i32| {
        let job = json!({"name": "a", "trigger": {"manual": true}, "retry": {"attempts": 2, "on": [on]},
                         "driver": {"http": {"url": "http://a"}}});
        let job = crate::job::Job::from_value(job).unwrap();
        job.check(chrono::DateTime::UNIX_EPOCH).map_err(|error| error.errors[0].field.clone())
    };
    assert_eq!((job(503), job(75)), (Ok(()), Err("retry.on[0]".to_owned())));
}

// Once: every third number of 17 digits became another one whenever a job was read.
#[test]
fn numbers_are_sent_as_they_were_given() {
    let mut bits = 88_172_645_463_325_252_u64;
    for _ in 0..1_000 {
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        let Some(number) = Some(f64::from_bits(bits)).filter(|number| number.is_finite()) else { continue };
        let text = format!(r#"{{"url": "http://a", "json": {}}}"#, serde_json::to_string(&number).unwrap());
        let http: Http = serde_json::from_str(&text).unwrap();
        assert_eq!(http.json, Some(json!(number)));
    }
}
