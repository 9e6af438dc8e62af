//! Calls that are not answered, and calls that are broken off.

use axum::body::Body;
use futures::{StreamExt as _, stream};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::watch,
    time::Instant,
};
use worker::output::Output;

use super::*;
use crate::support::until;

#[tokio::test]
async fn a_call_that_is_not_answered_ends_when_its_time_is_over() {
    let silent = Silent::default();
    let address = silent.serve().await;
    let (exit, output) = ended(json!({"url": format!("http://{address}"), "timeout": "200ms"})).await;
    assert_eq!((exit.words().as_str(), output.text.as_str()), ("no answer within 200ms", ""));
    assert!(exit.has_timed_out() && exit.is_retryable() && !exit.is_success());
    until("the server is hung up on", || silent.hung_up(), |hung_up| *hung_up).await;

    let dripping = serve_always(|| {
        let drops = stream::repeat(()).then(|()| async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok::<_, std::io::Error>("x")
        });
        Body::from_stream(drops)
    })
    .await;
    let (exit, output) = ended(json!({"url": format!("http://{dripping}"), "timeout": "500ms"})).await;
    assert_eq!(exit.words(), "HTTP 200 OK came, but not all of the answer came within 500ms");
    assert!(exit.has_timed_out() && output.text.contains("\nxx"), "{}", output.text);
}

#[tokio::test]
async fn why_no_answer_comes_is_said() {
    // Bound and not listened to, so that nobody else gets it.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let refusing = socket.local_addr().unwrap();
    // No resolver is asked for such a name.
    let unknown = format!("{}.example", "x".repeat(64));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rude = listener.local_addr().unwrap();
    let torn = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let torn_at = torn.local_addr().unwrap();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = torn.accept().await {
            // The head comes in one piece.
            assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await.unwrap();
        }
    });
    // The status that it began with stands.
    let (exit, output) = ended(json!({"url": format!("http://{torn_at}/"), "expect": [204]})).await;
    assert_eq!(
        (exit.words().as_str(), exit.is_retryable(), exit.exit_code()),
        ("HTTP 200 OK", false, Some(200))
    );
    assert!(output.text.contains("\nhalf\nthe answer broke off: "), "{}", output.text);
    for (url, words) in [
        (format!("http://{refusing}/"), format!("no connection to {refusing}: Connection refused")),
        (
            format!("http://{unknown}/a?token=s3cret"),
            format!("the name of {unknown}:80 cannot be resolved: "),
        ),
        (format!("http://{rude}/"), format!("{rude} broke off before it answered: ")),
        (format!("http://{torn_at}/"), "HTTP 200 OK came, but the answer broke off: ".to_owned()),
        (format!("https://{rude}/"), format!("no connection to {rude}: ")),
    ] {
        let (exit, _) = ended(json!({"url": url, "timeout": "60s"})).await;
        assert!(
            exit.words().starts_with(&words) && !exit.words().contains("s3cret"),
            "{url}: {}",
            exit.words()
        );
        assert!(exit.is_retryable() && !exit.is_success() && exit.exit_code().is_none(), "{url}");
    }
}

#[tokio::test]
async fn a_kill_breaks_a_call_off_at_once_whatever_the_grace() {
    let silent = Silent::default();
    let address = silent.serve().await;
    let started = started(json!({"url": format!("http://{address}")})).await;
    until("the server is asked", || silent.asked(), |asked| *asked == 1).await;
    started.kill(LONG);
    let (exit, _) = started.end().await;
    assert_eq!((exit.words().as_str(), exit.is_success()), ("the call was broken off", false));
    until("the server is hung up on", || silent.hung_up(), |hung_up| *hung_up).await;
}

#[tokio::test]
async fn a_call_that_is_dropped_is_broken_off() {
    let silent = Silent::default();
    let address = silent.serve().await;
    let started = started(json!({"url": format!("http://{address}")})).await;
    until("the server is asked", || silent.asked(), |asked| *asked == 1).await;
    started.abandon();
    until("the server is hung up on", || silent.hung_up(), |hung_up| *hung_up).await;
}

#[tokio::test]
async fn a_kill_before_the_call_keeps_it_from_being_made() {
    let silent = Silent::default();
    let address = silent.serve().await;
    let bench = Bench::new();
    let spec = spec(call(json!({"url": format!("http://{address}")})));
    let output = Output::new(spec.job.output, Instant::now(), None);
    let (_stop, signal) = watch::channel(Some(LONG));
    let exit = bench.drivers.start(&spec, &output).await.unwrap().wait(signal).await;
    assert_eq!(exit.words(), "the call was broken off");
    // Of two calls the later one arrives.
    let (exit, _) = bench
        .start(call(json!({"url": format!("http://{address}"), "timeout": "200ms"})))
        .await
        .unwrap()
        .end()
        .await;
    assert!(exit.has_timed_out());
    assert_eq!(silent.asked(), 1);
}

#[tokio::test]
async fn a_run_that_does_nothing_ends_as_it_is_told() {
    let noop = |noop: Value| serde_json::from_value::<Command>(json!({"noop": noop})).unwrap();
    let bench = Bench::new();
    let (exit, output) = bench.start(noop(json!({}))).await.unwrap().end().await;
    assert_eq!((exit, output.text.as_str()), (Exit::code(0), ""));
    let (exit, _) = bench.start(noop(json!({"for": "20ms", "exit": 3}))).await.unwrap().end().await;
    assert_eq!(exit, Exit::code(3));
    let started = bench.start(noop(json!({"for": "1h"}))).await.unwrap();
    started.kill(LONG);
    assert_eq!(started.end().await.0.words(), "signal: terminated");
}
