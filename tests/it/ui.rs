//! The page, in a real browser, against a real `quorate dev`.

use anyhow::Result;

use crate::support::{browser::Browser, dev::Dev};

const HOSTILE: &str = "<img src=x onerror=document.title='owned'>";

/// Makes a job through the page and waits until the list has it.
async fn make_job(browser: &Browser, name: &str, command: &str, cron: &str) -> Result<()> {
    browser.click("[data-test=new-job]").await?;
    browser.fill("#job-name", name).await?;
    browser.fill("#job-command", command).await?;
    browser.fill("#job-cron", cron).await?;
    browser.count("[data-test=preview-next] li", |count| count > 0).await?;
    browser.click("[data-test=save]").await?;
    browser.text("[data-test=job-name]", |text| text == name).await?;
    Ok(())
}

async fn jobs(width: u32, height: u32) -> Result<(Dev, Browser)> {
    let dev = Dev::start().await;
    let browser = Browser::open(width, height).await?;
    browser.go(&format!("{}/#/jobs", dev.url())).await?;
    Ok((dev, browser))
}

#[tokio::test]
async fn a_job_made_in_the_page_fires_and_its_output_can_be_read() -> Result<()> {
    let (_dev, browser) = jobs(1300, 800).await?;
    browser.text("[data-test=empty]", |text| text.contains("Make the first")).await?;
    browser.screenshot("empty").await?;
    make_job(&browser, "hello", "echo out-of-hello; echo oops >&2", "* * * * * * *").await?;
    browser.text("[data-job=hello] [data-test=schedule]", |text| text.contains("every second")).await?;
    browser.text("[data-job=hello] [data-test=last]", |text| text == "succeeded").await?;
    browser.screenshot("jobs").await?;
    browser.click("[data-job=hello] [data-test=last]").await?;
    browser.text("[data-test=output]", |text| text.contains("out-of-hello")).await?;
    browser.text("[data-test=output] [data-stream=err]", |text| text.contains("oops")).await?;
    browser.text("[data-test=fact-exit-code]", |text| text == "0").await?;
    browser.screenshot("run").await?;
    browser.click("[data-tab=runs]").await?;
    browser.count("[data-test=run]", |count| count >= 2).await?;
    browser.text("[data-test=lateness-line]", |text| text.contains("runs by schedule half started")).await?;
    browser.screenshot("runs").await?;
    browser.click("[data-tab=workers]").await?;
    browser.text("[data-test=worker] [data-test=readiness]", |text| text == "ready").await?;
    browser.screenshot("workers").await
}

#[tokio::test]
async fn a_long_run_is_followed_and_killed_from_the_page() -> Result<()> {
    let (_dev, browser) = jobs(1300, 800).await?;
    let command = "echo begun; sleep 600 | cat";
    make_job(&browser, "long", command, "0 0 1 1 *").await?;
    browser.click("[data-job=long] [data-test=run-now]").await?;
    browser.click("[data-job=long] [data-test=running]").await?;
    browser.text("[data-test=output]", |text| text.contains("begun")).await?;
    browser.click("[data-test=kill-run]").await?;
    browser.text("#confirm-title", |text| text.contains("Kill")).await?;
    browser.click("[data-test=confirm-yes]").await?;
    browser.text("[data-test=state]", |text| text == "killed").await?;
    browser.screenshot("killed").await
}

#[tokio::test]
async fn what_is_wrong_with_a_job_shows_at_its_field() -> Result<()> {
    let (_dev, browser) = jobs(1300, 1000).await?;
    browser.click("[data-test=new-job]").await?;
    browser.fill("#job-name", "wrong").await?;
    browser.fill("#job-command", "true").await?;
    browser.fill("#job-cron", "61 * * * *").await?;
    // While it is written, and once more when it is saved.
    browser.text("[data-test=error-cron]", |text| text.contains("61")).await?;
    browser.click("[data-test=save]").await?;
    browser.text("[data-test=error-cron]", |text| text.contains("61") && text.contains("Right is")).await?;
    browser.screenshot("bad-cron").await?;
    browser.fill("#job-cron", "0 9 * * MON-FRI").await?;
    browser.fill("#job-zone", "Mars/Olympus").await?;
    browser.text("[data-test=error-zone]", |text| text.contains("Mars/Olympus")).await?;
    browser.fill("#job-zone", "Europe/Berlin").await?;
    browser.text("[data-test=preview-words]", |text| text.contains("weekdays")).await?;
    browser.click("[data-test=more-fields] summary").await?;
    browser.fill("#job-timeout", "soon").await?;
    browser.click("[data-test=save]").await?;
    browser.text("[data-test=error-timeout]", |text| text.contains("soon")).await?;
    browser.screenshot("form").await?;
    browser.fill("#job-timeout", "2h").await?;
    browser.click("[data-test=save]").await?;
    browser.text("[data-test=job-name]", |text| text == "wrong").await?;
    Ok(())
}

#[tokio::test]
async fn what_looks_like_html_stays_text() -> Result<()> {
    // As narrow as a phone: the same page has to work there.
    let (_dev, browser) = jobs(500, 900).await?;
    let command = format!("echo \"{HOSTILE}\"");
    make_job(&browser, HOSTILE, &command, "* * * * * * *").await?;
    browser.text("[data-test=last]", |text| text == "succeeded").await?;
    browser.screenshot("hostile").await?;
    browser.click("[data-test=last]").await?;
    browser.text("[data-test=output]", |text| text.contains(HOSTILE)).await?;
    browser.screenshot("hostile-run").await?;
    assert_eq!(browser.run("return document.querySelectorAll('#view img').length").await?, 0);
    let title = browser.run("return document.title").await?;
    assert_ne!(title, "owned");
    Ok(())
}

#[tokio::test]
async fn a_job_is_deleted_only_after_its_name_was_shown() -> Result<()> {
    let (_dev, browser) = jobs(1300, 800).await?;
    make_job(&browser, "precious", "true", "0 0 1 1 *").await?;
    browser.click("[data-job=precious] [data-test=delete]").await?;
    browser.text("#confirm-title", |text| text.contains("precious")).await?;
    browser.screenshot("delete").await?;
    browser.click("[data-test=confirm-no]").await?;
    browser.click("[data-job=precious] [data-test=pause]").await?;
    browser.text("[data-job=precious] [data-test=paused]", |text| text == "paused").await?;
    browser.click("[data-job=precious] [data-test=delete]").await?;
    browser.click("[data-test=confirm-yes]").await?;
    browser.text("[data-test=empty]", |text| text.contains("No jobs yet")).await?;
    Ok(())
}

#[tokio::test]
async fn the_page_of_ticks_sets_what_happened_against_the_schedule() -> Result<()> {
    let (dev, browser) = jobs(1300, 900).await?;
    // Every third second finds the run of the one before: it is skipped.
    make_job(
        &browser,
        "ticking",
        "case $QUORATE_TICK in *[05]Z) exit 3;; *[369]Z) sleep 1.5;; esac",
        "* * * * * * *",
    )
    .await?;
    browser.click("[data-job=ticking] [data-test=to-ticks]").await?;
    browser.text("[data-test=title]", |text| text == "Ticks of ticking").await?;
    browser.count("[data-test=tick][data-outcome=succeeded]", |count| count >= 3).await?;
    browser.count("[data-test=tick][data-outcome=failed]", |count| count >= 1).await?;
    browser.count("[data-test=tick][data-outcome=skipped]", |count| count >= 2).await?;
    browser.text("[data-test=expected]", |text| text.ends_with("expected")).await?;
    browser
        .text("[data-test=tick][data-outcome=succeeded] [data-test=late]", |text| text.ends_with('s'))
        .await?;
    browser.screenshot("ticks").await?;
    browser.click("[data-test=unsuccessful]").await?;
    browser.count("[data-test=tick][data-outcome=succeeded]", |count| count == 0).await?;
    browser.count("[data-test=tick][data-outcome=failed]", |count| count >= 1).await?;
    browser.screenshot("ticks-unsuccessful").await?;
    browser.click("[data-test=tick][data-outcome=failed] [data-test=run-link]").await?;
    browser.text("[data-test=fact-exit-code]", |text| text == "3").await?;
    browser.click("[data-test=to-ticks]").await?;
    browser.click("[data-test=count-skipped]").await?;
    browser.count("[data-test=tick][data-outcome=succeeded]", |count| count == 0).await?;
    browser.count("[data-test=tick][data-outcome=skipped]", |count| count >= 2).await?;
    // A range in which nothing was expected, and one that makes no sense.
    let url = |rest: &str| format!("{}/#/jobs/ticking/ticks?{rest}", dev.url());
    browser.go(&url("from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z")).await?;
    browser.text("[data-test=empty]", |text| text.contains("no ticks")).await?;
    browser.go(&url("from=2020-01-02T00:00:00Z&to=2020-01-01T00:00:00Z")).await?;
    browser.text("[data-test=ticks-error]", |text| text.contains("not before the end")).await?;
    browser.screenshot("ticks-none").await
}

#[tokio::test]
async fn a_pause_is_no_gap_in_the_ticks() -> Result<()> {
    let (dev, browser) = jobs(500, 900).await?;
    make_job(&browser, "paused", "true", "* * * * * * *").await?;
    browser.text("[data-test=last]", |text| text == "succeeded").await?;
    browser.click("[data-job=paused] [data-test=pause]").await?;
    browser.text("[data-job=paused] [data-test=paused]", |text| text == "paused").await?;
    browser.click("[data-job=paused] [data-test=to-ticks]").await?;
    let before = browser.text("[data-test=expected]", |text| text.ends_with("expected")).await?;
    browser.screenshot("ticks-phone").await?;
    // Some ticks later, by the clock of another job.
    browser.go(&format!("{}/#/jobs", dev.url())).await?;
    make_job(&browser, "other", "true", "* * * * * * *").await?;
    browser.go(&format!("{}/#/jobs/other/ticks", dev.url())).await?;
    browser.count("[data-test=tick][data-outcome=succeeded]", |count| count >= 3).await?;
    browser.go(&format!("{}/#/jobs/paused/ticks", dev.url())).await?;
    browser.text("[data-test=title]", |text| text == "Ticks of paused").await?;
    let after = browser.text("[data-test=expected]", |text| text.ends_with("expected")).await?;
    assert_eq!(before, after);
    Ok(())
}

#[tokio::test]
async fn jobs_can_be_put_into_another_order() -> Result<()> {
    let (_dev, browser) = jobs(1300, 800).await?;
    make_job(&browser, "b-bad", "false", "0 0 1 1 *").await?;
    make_job(&browser, "a-fine", "true", "0 0 1 1 *").await?;
    for (name, state) in [("a-fine", "succeeded"), ("b-bad", "failed")] {
        browser.click(&format!("[data-job={name}] [data-test=run-now]")).await?;
        browser.text(&format!("[data-job={name}] [data-test=last]"), |text| text == state).await?;
    }
    browser.text("[data-test=job-name]", |text| text == "a-fine").await?;
    browser.click("[data-test=sort] option[value=result]").await?;
    browser.text("[data-test=job-name]", |text| text == "b-bad").await?;
    browser.screenshot("jobs-sorted").await?;
    browser.fill("[data-test=search]", "FINE").await?;
    browser.count("[data-test=job]", |count| count == 1).await?;
    browser.text("[data-test=job-name]", |text| text == "a-fine").await?;
    Ok(())
}
