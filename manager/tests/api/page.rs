//! The page's files and what browsers are told about answers.

use axum::body::Body;

use super::support::{Bench, request};

#[tokio::test]
async fn the_page_is_served_with_what_keeps_it_safe() {
    let bench = Bench::start().await;
    let page = bench.get("/").await;
    assert_eq!((page.status, page.text.as_str()), (200, "<!doctype html>the page"));
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'self';") && !policy.contains("unsafe"), "{policy}");
    for path in ["/", "/assets/app.js", "/api/v1/jobs", "/job/list", "/nothing"] {
        let answer = bench.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
    }
    assert_eq!(bench.get("/api/v1/jobs").await.header("cache-control"), "no-store");
    assert_eq!(bench.get("/assets/app.js").await.text, "export {}");
    assert_eq!(bench.get("/assets/js/pages/a.js").await.text, "export {}");
    for path in ["/assets/none.js", "/assets/js/pages", "/assets/js/pages/none.js"] {
        assert_eq!(bench.get(path).await.status, 404, "{path}");
    }
    assert_eq!(bench.get("/assets/../index.html").await.status, 404);
}

#[tokio::test]
async fn a_file_that_the_browser_has_is_not_sent_again() {
    let bench = Bench::start().await;
    assert_eq!(bench.get("/assets/app.js").await.header("etag"), "\"abc\"");
    for (given, status) in [("\"abc\"", 304), ("W/\"abc\"", 304), ("\"x\", \"abc\"", 304), ("\"old\"", 200)] {
        let mut request = request("GET", "/assets/app.js", Body::empty());
        request.headers_mut().insert("if-none-match", given.parse().unwrap());
        assert_eq!(bench.send(request).await.status, status, "{given}");
    }
}
