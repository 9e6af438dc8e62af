//! Addresses that calls must not reach, and where they are sent on to.

use axum::{
    http::{StatusCode, Uri, header::LOCATION},
    routing::get,
};

use super::*;

/// Sends on to what `next` says of the path.
async fn sending_on(next: impl Fn(&str) -> String + Clone + Send + Sync + 'static) -> SocketAddr {
    let router = Router::new().route("/end", get(|| async { "here" })).fallback(any(move |uri: Uri| {
        let next = next(uri.path());
        async move { (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, next)]) }
    }));
    serve(router).await
}

async fn refused(bench: &Bench, url: String) -> String {
    let (exit, _) = bench.start(call(json!({"url": url}))).await.expect("it starts").end().await;
    assert!(!exit.is_success() && !exit.is_retryable(), "{url}: {exit:?}");
    exit.words()
}

#[tokio::test]
async fn what_is_forbidden_is_not_called_by_address_by_name_or_after_a_redirect() {
    let silent = Silent::default();
    let target = silent.serve().await;
    let port = target.port();
    let bench = forbidding(&["loopback"]);
    for url in [
        format!("http://127.0.0.1:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("http://0:{port}/"),
    ] {
        let words = refused(&bench, url.clone()).await;
        assert!(words.contains("is this machine itself") && words.contains("http_forbid"), "{url}: {words}");
    }
    let words = refused(&bench, format!("http://localhost:{port}/")).await;
    assert!(words.starts_with("localhost is ") && words.contains("which is this machine itself"), "{words}");
    assert_eq!(silent.asked(), 0);
}

// Here the first place may be called, and the second may not: metadata is forbidden to every worker.
#[tokio::test]
async fn a_redirect_to_the_metadata_of_a_cloud_is_not_followed() {
    for target in
        ["http://169.254.169.254/latest/meta-data/", "http://[fe80::1]/", "http://[::ffff:a9fe:a9fe]/"]
    {
        let address = sending_on(move |_| target.to_owned()).await;
        let words = refused(&Bench::new(), format!("http://{address}/")).await;
        assert!(words.starts_with("it was sent on, but ") && words.contains("metadata"), "{words}");
    }
}

#[tokio::test]
async fn redirects_are_followed_to_an_end_and_no_further() {
    let address = sending_on(|path| format!("{}x", if path.len() > 9 { "/end?" } else { path })).await;
    let (exit, output) = ended(json!({"url": format!("http://{address}/x?secret")})).await;
    assert!(exit.is_success(), "{exit:?}");
    assert!(output.text.contains(&format!(" ms, from http://{address}/end\n")), "{}", output.text);
    let round = sending_on(|_| "/again".to_owned()).await;
    let words = refused(&Bench::new(), format!("http://{round}/")).await;
    assert_eq!(words, "it was sent on more than 10 times");
    let (exit, _) = ended(json!({"url": format!("http://{round}/"), "redirects": "none"})).await;
    assert_eq!(exit.words(), "HTTP 307 Temporary Redirect");
}
