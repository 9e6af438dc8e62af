//! Workers: shown one by one, drained and undrained.

use common::worker::Drain;
use serde_json::json;

use super::support::{Bench, NOW};

#[tokio::test]
async fn a_worker_is_drained_with_a_note_and_undrained() {
    let bench = Bench::start().await;
    bench.register("w1", "w1:5556").await;
    bench.until("/api/v1/workers", |answer| answer.json()["items"][0]["id"] == "w1").await;
    let shown = bench.get("/api/v1/workers/w1").await.json();
    assert_eq!(
        (&shown["id"], &shown["says"], &shown["drain"]),
        (&json!("w1"), &json!("ready"), &json!(null))
    );
    let drained = bench.post("/api/v1/workers/w1/drain?note=new%20disk&evict=true").await;
    let wanted = json!({"by": "api", "at": NOW, "note": "new disk", "evict": true});
    assert_eq!((drained.status, &drained.json()["drain"]), (200, &wanted), "{drained:?}");
    let key = bench.keys.drains.key("w1");
    assert_eq!(Drain::decode(&bench.entry(&key).await.unwrap().value).unwrap().note, "new disk");
    let shown = bench.get("/api/v1/workers/w1").await.json();
    assert_eq!(shown["drain"], wanted);
    assert_eq!(shown["says"], format!("ready; by api, since {NOW}: new disk"));
    for _ in 0..2 {
        let undrained = bench.post("/api/v1/workers/w1/undrain").await;
        assert_eq!((undrained.status, &undrained.json()["drain"]), (200, &json!(null)));
        assert_eq!(bench.entry(&key).await, None);
    }
}

#[tokio::test]
async fn what_is_no_worker_or_no_note_is_refused() {
    let bench = Bench::start().await;
    for path in ["/api/v1/workers/w1", "/api/v1/workers/w%2F1"] {
        assert!([404, 400].contains(&bench.get(path).await.status), "{path}");
    }
    let missing = bench.post("/api/v1/workers/w1/drain").await;
    assert_eq!((missing.status, missing.json()["type"].as_str()), (404, Some("not-found")), "{missing:?}");
    assert_eq!(bench.post("/api/v1/workers/w1/undrain").await.status, 404);
    bench.register("w1", "w1:5556").await;
    for bad in ["evict=perhaps", "note=a%0Ab", "why=x"] {
        let refused = bench.post(&format!("/api/v1/workers/w1/drain?{bad}")).await;
        assert_eq!(refused.status, 400, "{bad}: {refused:?}");
    }
}
