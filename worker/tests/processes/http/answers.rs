//! What comes of answers.

use axum::{
    body::Body,
    extract::Request,
    http::{StatusCode, header::LOCATION},
};
use common::runlog::Stream;
use futures::{StreamExt as _, stream};
use parking_lot::Mutex;

use super::*;

#[tokio::test]
async fn an_answer_is_the_output_and_its_status_stands_on_standard_error() {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let all = seen.clone();
    let router = Router::new().fallback(any(move |request: Request| {
        let all = all.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 1000).await.unwrap();
            let mut seen = all.lock();
            seen.push(format!("{} {} {}", head.method, head.uri, String::from_utf8_lossy(&body)));
            seen.extend(
                head.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())),
            );
            (StatusCode::ACCEPTED, "good\nmorning")
        }
    }));
    let address = serve(router).await;
    let started = started(json!({"url": format!("http://{address}/hook?a=b"), "method": "POST",
        "json": {"text": "done"}, "headers": {"Authorization": "Bearer x"}}))
    .await;
    let run = started.run.to_string();
    let (exit, output) = started.end().await;
    assert_eq!((exit.words().as_str(), exit.exit_code()), ("", Some(0)));
    let (line, rest) = output.text.split_once('\n').unwrap();
    assert!(line.starts_with("HTTP/1.1 202 Accepted in ") && line.ends_with(" ms"), "{line}");
    assert_eq!(rest, "good\nmorning");
    let streams: Vec<Stream> = output.pieces.iter().map(|piece| piece.1).collect();
    assert_eq!(streams, [Stream::Err, Stream::Out]);
    let seen = seen.lock();
    assert_eq!(seen[0], r#"POST /hook?a=b {"text":"done"}"#);
    for header in [
        format!("host: {address}"),
        format!("quorate-run: {run}"),
        format!("idempotency-key: {run}"),
        "quorate-job: nightly".to_owned(),
        "quorate-attempt: 1".to_owned(),
        "quorate-fence: 7".to_owned(),
        "quorate-worker: w1".to_owned(),
        "quorate-tick: ".to_owned(),
        "authorization: Bearer x".to_owned(),
        "content-type: application/json".to_owned(),
    ] {
        assert!(seen.contains(&header), "{header} in {seen:?}");
    }
}

#[tokio::test]
async fn a_job_says_which_statuses_are_a_success() {
    for (status, expect, success, again) in [
        (200, json!([]), true, None),
        (404, json!([]), false, Some(false)),
        (404, json!([204, "400-410"]), true, None),
        (200, json!([204]), false, Some(false)),
        (302, json!([]), false, Some(false)),
        (302, json!([302]), true, None),
        (429, json!([]), false, Some(true)),
        (503, json!([]), false, Some(true)),
    ] {
        let address = serve_always(move || (StatusCode::from_u16(status).unwrap(), [(LOCATION, "/x")])).await;
        let url = format!("http://{address}");
        let (exit, _) = ended(json!({"url": url, "expect": expect, "redirects": "none"})).await;
        assert_eq!(
            (exit.is_success(), exit.exit_code()),
            (success, Some(if success { 0 } else { i32::from(status) }))
        );
        if let Some(again) = again {
            assert_eq!(exit.is_retryable(), again, "{status}");
            assert!(exit.words().starts_with(&format!("HTTP {status} ")), "{}", exit.words());
        }
    }
}

#[tokio::test]
async fn of_a_hundred_megabytes_little_is_read_and_less_is_kept() {
    const CHUNK: usize = 64 << 10;
    let sent = Arc::new(AtomicU64::new(0));
    let count = sent.clone();
    let address = serve_always(move || {
        let count = count.clone();
        let chunks = stream::iter(0..1600).map(move |_| {
            count.fetch_add(CHUNK as u64, Ordering::SeqCst);
            Ok::<_, std::io::Error>(vec![b'x'; CHUNK])
        });
        Body::from_stream(chunks)
    })
    .await;
    let spec = limited(json!({"url": format!("http://{address}")}), "64KiB");
    let (exit, output) = Bench::new().start_spec(&spec).await.unwrap().end().await;
    assert!(exit.is_success(), "{exit:?}");
    assert!(
        output.text.len() <= 64 << 10 && output.truncated > 1 << 20,
        "{} {}",
        output.text.len(),
        output.truncated
    );
    let note = "\nThe answer is longer than 1114112 bytes: the rest was not read.\n";
    assert!(output.text.ends_with(note), "{}", &output.text[output.text.len() - 100..]);
    // What the system's buffers hold has been sent, too.
    assert!(sent.load(Ordering::SeqCst) < 40 << 20, "{sent:?}");
}

#[tokio::test]
async fn an_answer_that_comes_slowly_is_waited_for_and_can_be_watched() {
    let address = serve_always(|| {
        let pieces = stream::iter(["one ", "two ", "three"]).then(|piece| async move {
            tokio::time::sleep(Duration::from_millis(150)).await;
            Ok::<_, std::io::Error>(piece)
        });
        Body::from_stream(pieces)
    })
    .await;
    let started = started(json!({"url": format!("http://{address}"), "timeout": "60s"})).await;
    started.until_printed("one ").await;
    let (exit, output) = started.end().await;
    assert!(exit.is_success() && output.text.ends_with("\none two three"), "{}", output.text);
}

#[tokio::test]
async fn a_compressed_answer_is_kept_as_text() {
    // `gzip -n` of "hello\n".
    const HELLO: [u8; 26] = [
        0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0xe7, 2, 0, 0x20, 0x30, 0x3a, 0x36,
        6, 0, 0, 0,
    ];
    let address = serve_always(|| ([("content-encoding", "gzip")], HELLO.to_vec())).await;
    let (exit, output) = ended(json!({"url": format!("http://{address}")})).await;
    assert!(exit.is_success() && output.text.ends_with(" ms\nhello\n"), "{exit:?} {}", output.text);
}
