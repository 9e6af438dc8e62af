//! No web page runs commands through somebody's browser, on any surface.

use axum::{body::Body, http::Request};

use super::support::{Answer, Bench, request};

const WRITES: [(&str, &str); 7] = [
    ("POST", "/api/v1/jobs"),
    ("PUT", "/api/v1/jobs/a"),
    ("DELETE", "/api/v1/jobs/a"),
    ("POST", "/api/v1/jobs/a/run"),
    ("POST", "/job/save"),
    ("POST", "/job/delete"),
    ("POST", "/job/kill"),
];

async fn ask(bench: &Bench, method: &str, path: &str, headers: &[(&'static str, &str)]) -> Answer {
    let mut request = request(method, path, Body::empty());
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().expect("a value"));
    }
    bench.send(request).await
}

#[tokio::test]
async fn a_name_that_was_made_to_point_here_is_not_answered_for() {
    let bench = Bench::start().await;
    let reads = ["/", "/assets/app.js", "/api/v1/jobs", "/job/list", "/worker/list", "/healthz", "/nothing"];
    for (method, path) in reads.map(|path| ("GET", path)).into_iter().chain(WRITES) {
        let refused = ask(&bench, method, path, &[("host", "evil.example:8070")]).await;
        assert_eq!(refused.status, 421, "{method} {path}: {refused:?}");
        assert_eq!(refused.header("content-type"), "application/problem+json");
        assert!(refused.json()["detail"].as_str().unwrap().contains("--allowed-host"));
    }
    for host in ["localhost:8070", "127.0.0.1", "[::1]:8070", "quorate.example:443"] {
        assert_eq!(ask(&bench, "GET", "/healthz", &[("host", host)]).await.status, 200, "{host}");
    }
    let none = Request::get("/healthz").body(Body::empty()).unwrap();
    assert_eq!(bench.send(none).await.status, 421);
}

#[tokio::test]
async fn a_page_of_another_site_changes_nothing_and_curl_passes() {
    let bench = Bench::start().await;
    bench.save("a").await;
    for (method, path) in WRITES {
        for header in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("origin", "http://evil.example"),
            ("origin", "null"),
        ] {
            let refused = ask(&bench, method, path, &[header]).await;
            assert_eq!(
                (refused.status, refused.json()["type"].as_str()),
                (403, Some("cross-site")),
                "{header:?}"
            );
        }
    }
    assert_eq!(bench.get("/api/v1/jobs/a").await.status, 200);
    let own = [("sec-fetch-site", "same-origin"), ("origin", "http://localhost:8070")];
    assert_eq!(ask(&bench, "POST", "/api/v1/jobs/a/run", &own).await.status, 202);
    assert_eq!(bench.post("/api/v1/jobs/a/run").await.status, 202);
}

#[tokio::test]
async fn a_page_of_another_site_reads_nothing_and_a_link_opens_the_page() {
    let bench = Bench::start().await;
    let reads = [
        "/job/log?name=a&limit=1000",
        "/job/list",
        "/worker/list",
        "/api/v1/jobs",
        "/assets/app.js",
        "/metrics",
        "/nothing",
    ];
    for path in reads {
        for site in ["cross-site", "same-site"] {
            for mode in ["no-cors", "cors", "navigate"] {
                let foreign = [("sec-fetch-site", site), ("sec-fetch-mode", mode)];
                let refused = ask(&bench, "GET", path, &foreign).await;
                assert_eq!(
                    (refused.status, refused.json()["type"].as_str()),
                    (403, Some("cross-site")),
                    "{path} {foreign:?}"
                );
            }
        }
    }
    let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
    assert_eq!(ask(&bench, "GET", "/", &link).await.status, 200);
    let picture = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")];
    assert_eq!(ask(&bench, "GET", "/", &picture).await.status, 403);
    let own = [("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors")];
    let typed = [("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")];
    for path in ["/job/log?name=a&limit=1000", "/api/v1/jobs", "/assets/app.js"] {
        assert_eq!(ask(&bench, "GET", path, &own).await.status, 200, "{path}");
        assert_eq!(ask(&bench, "GET", path, &typed).await.status, 200, "{path}");
    }
}
