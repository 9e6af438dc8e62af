//! Jobs that call a URL, as people meet them: from the example, in the page, and beside GDTS's clients.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::{
    cli::run_with_input,
    support::{
        browser::Browser,
        dev::{Dev, http},
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_of_a_webhook_works_as_pasted() -> Result<()> {
    let dev = Dev::start().await;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/examples/webhook.yaml");
    let jobs = std::fs::read_to_string(file).context("read the example")?;
    let jobs = jobs.replace("http://127.0.0.1:8070", dev.url());
    let saved = run_with_input(&["job", "save", "-", "--server", dev.url()], &jobs)?;
    assert_eq!(saved.code, Some(0), "{}{}", saved.out, saved.err);
    let called = run_with_input(&["job", "run", "webhook", "--follow", "--server", dev.url()], "")?;
    assert_eq!(called.code, Some(0), "{}{}", called.out, called.err);
    assert!(called.out.contains("HTTP/1.1 20") && called.out.contains("\"run\""), "{}", called.out);
    let list: Value = http().get(format!("{}/job/list", dev.url())).send().await?.json().await?;
    let shown: Vec<_> =
        list["data"].as_array().context("a list")?.iter().map(|job| &job["command"]).collect();
    assert_eq!(shown, [&json!("echo \"hello from $QUORATE_WORKER\""), &json!("")]);
    Ok(())
}

#[tokio::test]
async fn a_call_is_written_in_the_page_and_says_what_is_wrong_at_its_fields() -> Result<()> {
    let dev = Dev::start().await;
    let browser = Browser::open(1300, 1100).await?;
    browser.go(&format!("{}/#/jobs", dev.url())).await?;
    browser.click("[data-test=new-job]").await?;
    browser.fill("#job-name", "hook").await?;
    browser.click("#job-driver option[value=http]").await?;
    browser.fill("#job-cron", "0 0 1 1 *").await?;
    browser.click("[data-test=save]").await?;
    browser.text("[data-test='error-driver.http.url']", |text| text.contains("is not a URL")).await?;
    browser.fill("#job-driver-http-url", &format!("{}/healthz", dev.url())).await?;
    browser.fill("#job-driver-http-headers", "Content-Length: 3").await?;
    browser.click("[data-test=save]").await?;
    browser.text("[data-test='error-driver.http.headers']", |text| text.contains("connection")).await?;
    browser.screenshot("form-call").await?;
    browser.fill("#job-driver-http-headers", "Accept: */*\nX-Time: 12:30").await?;
    browser.click("[data-test=more-fields] summary").await?;
    browser.fill("#job-driver-http-expect", "200, 300-302").await?;
    browser.click("[data-test=save]").await?;
    browser.text("[data-test=job-name]", |text| text == "hook").await?;
    let job: Value = http().get(format!("{}/api/v1/jobs/hook", dev.url())).send().await?.json().await?;
    let expected = json!({"http": {"url": format!("{}/healthz", dev.url()), "expect": [200, "300-302"],
        "headers": {"Accept": "*/*", "X-Time": "12:30"}}});
    assert_eq!(job["driver"], expected);
    browser.click("[data-job=hook] [data-test=run-now]").await?;
    browser.text("[data-job=hook] [data-test=last]", |text| text == "succeeded").await?;
    browser.click("[data-job=hook] [data-test=last]").await?;
    browser.text("[data-test=output] [data-stream=err]", |text| text.contains("HTTP/1.1 200 OK in ")).await?;
    browser.screenshot("run-call").await
}
