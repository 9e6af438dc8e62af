//! The page, in a real browser, against a real `quorate dev`.

use anyhow::Result;
use serde_json::{Value, json};

use crate::support::{
    browser::Browser,
    dev::{Dev, http},
};

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

fn url_of(dev: &Dev, name: &str) -> String {
    format!("{}/api/v1/jobs/{name}", dev.url())
}

/// Saves a job behind the page's back.
async fn put_job(dev: &Dev, name: &str, job: &Value) -> Result<()> {
    http().put(url_of(dev, name)).json(job).send().await?.error_for_status()?;
    Ok(())
}

async fn get_job(dev: &Dev, name: &str) -> Result<Value> {
    Ok(http().get(url_of(dev, name)).send().await?.error_for_status()?.json().await?)
}

/// Opens the form of a job, with all its fields.
async fn open_form(dev: &Dev, browser: &Browser, name: &str) -> Result<()> {
    browser.go(&format!("{}/#/jobs/{name}", dev.url())).await?;
    browser.click("[data-test=more-fields] summary").await
}

/// From now on the page's requests arrive, but it gets no answer where `lost`, a condition on `path` and `method`.
async fn lose_answers(browser: &Browser, lost: &str) -> Result<()> {
    let script = format!(
        "window.real ??= window.fetch; \
         window.fetch = async (path, init) => {{ \
           const {{ method }} = init; \
           const answer = await window.real(path, init); \
           if ({lost}) throw new TypeError('lost'); \
           return answer; \
         }};"
    );
    browser.run(&script).await?;
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
    browser.text("[data-test=empty]", |text| text.contains("Create the first")).await?;
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
    browser.text("[data-test=lateness-line]", |text| text.contains("scheduled runs, half started")).await?;
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
    browser.count("[data-test=output-gap]", |count| count == 0).await?;
    browser.click("[data-test=kill-run]").await?;
    browser.text("#confirm-title", |text| text.contains("Kill")).await?;
    browser.click("[data-test=confirm-yes]").await?;
    browser.text("[data-test=state]", |text| text == "killed").await?;
    browser.screenshot("killed").await
}

#[tokio::test]
async fn a_task_is_shown_among_the_runs_and_leads_to_the_tasks_of_its_name() -> Result<()> {
    let (dev, browser) = jobs(1300, 800).await?;
    let task = json!({"name": "reindex", "driver": {"shell": {"command": "echo done; exit 3"}}});
    http().post(format!("{}/api/v1/runs", dev.url())).json(&task).send().await?.error_for_status()?;
    browser.go(&format!("{}/#/runs", dev.url())).await?;
    browser.text("[data-test=run] [data-test=is-task]", |text| text == "task").await?;
    browser.text("[data-test=run] [data-test=state]", |text| text == "failed").await?;
    browser.screenshot("tasks").await?;
    browser.click("[data-test=run] [data-test=run-link]").await?;
    browser.text("[data-test=output]", |text| text.contains("done")).await?;
    browser.text("[data-test=fact-error]", |text| text == "exit status 3").await?;
    browser.screenshot("task").await?;
    // There is no job of that name to show.
    browser.click("[data-test=run-job]").await?;
    browser.count("[data-test=run]", |count| count == 1).await?;
    Ok(())
}

#[tokio::test]
async fn a_worker_is_drained_from_the_page_and_takes_runs_again() -> Result<()> {
    let (dev, browser) = jobs(1300, 700).await?;
    browser.go(&format!("{}/#/workers", dev.url())).await?;
    browser.text("[data-test=readiness]", |text| text == "ready").await?;
    browser.click("[data-test=drain]").await?;
    browser.text("#confirm-title", |text| text.starts_with("Drain ")).await?;
    browser.click("[data-test=confirm-yes]").await?;
    browser.text("[data-test=readiness]", |text| text == "draining").await?;
    browser.screenshot("drained").await?;
    browser.click("[data-test=undrain]").await?;
    browser.text("[data-test=readiness]", |text| text == "ready").await?;
    Ok(())
}

#[tokio::test]
async fn the_page_shows_where_a_long_output_is_cut_and_how_it_ended() -> Result<()> {
    let (_dev, browser) = jobs(1300, 800).await?;
    let command = "echo begun; yes noise | head -c 1100000; sleep 1; echo 'error: no such table' >&2; exit 9";
    make_job(&browser, "noisy", command, "0 0 1 1 *").await?;
    browser.click("[data-job=noisy] [data-test=run-now]").await?;
    browser.text("[data-job=noisy] [data-test=last]", |text| text == "failed").await?;
    browser.click("[data-job=noisy] [data-test=last]").await?;
    browser.text("[data-test=output]", |text| text.starts_with("begun\nnoise")).await?;
    browser.text("[data-test=output-gap]", |text| text.ends_with("bytes are left out here")).await?;
    browser.text("[data-test=output] [data-stream=err]", |text| text.contains("no such table")).await?;
    browser.screenshot("gap").await
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
    browser
        .text("[data-test=error-cron]", |text| text.contains("61") && text.contains("For example"))
        .await?;
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
    browser.text("#confirm-text", |text| text.contains("continues to its end")).await?;
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
    browser.text("[data-test=empty]", |text| text.contains("No ticks")).await?;
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

#[tokio::test]
async fn an_edit_keeps_what_the_form_cannot_show() -> Result<()> {
    let (dev, browser) = jobs(1300, 1000).await?;
    let job = json!({
        "trigger": {"manual": true},
        "driver": {"exec": {"argv": ["/bin/sh", "-c", "echo a\necho b", ""]}},
        "placement": {"require": ["rack=row 1, left"]},
    });
    put_job(&dev, "kept", &job).await?;
    open_form(&dev, &browser, "kept").await?;
    browser.count("#job-argv:disabled", |count| count == 1).await?;
    browser.count("#job-placement-require:disabled", |count| count == 1).await?;
    browser.screenshot("form-unfit").await?;
    browser.fill("#job-description", "edited").await?;
    browser.click("[data-test=save]").await?;
    browser.text("[data-test=job-name]", |text| text == "kept").await?;
    let kept = get_job(&dev, "kept").await?;
    assert_eq!(kept["description"], "edited");
    assert_eq!(kept["driver"], job["driver"]);
    assert_eq!(kept["placement"]["require"], job["placement"]["require"]);

    let job = json!({"trigger": {"manual": true}, "driver": {"exec": {"argv": ["/bin/echo", "  a "]}}});
    put_job(&dev, "kept", &job).await?;
    open_form(&dev, &browser, "kept").await?;
    browser.fill("#job-argv", "/bin/echo\n  a \n\nb").await?;
    browser.click("[data-test=save]").await?;
    browser.text("[data-test=job-name]", |text| text == "kept").await?;
    assert_eq!(get_job(&dev, "kept").await?["driver"]["exec"]["argv"], json!(["/bin/echo", "  a ", "b"]));

    // A driver that only a later release knows.
    open_form(&dev, &browser, "kept").await?;
    browser.click("[data-test=show-json]").await?;
    let later = json!({"name": "kept", "trigger": {"manual": true}, "driver": {"later": {"a": 1}}});
    browser.run(&format!("document.querySelector('#job-json').value = JSON.stringify({later})")).await?;
    browser.click("[data-test=show-form]").await?;
    browser.count("#job-driver option[value=later]", |count| count == 1).await?;
    browser.click("[data-test=show-json]").await?;
    let kept = browser.run("return JSON.parse(document.querySelector('#job-json').value)").await?;
    assert_eq!(kept, later);
    Ok(())
}

#[tokio::test]
async fn a_job_without_a_schedule_is_told_so_at_the_field() -> Result<()> {
    let (_dev, browser) = jobs(1300, 1000).await?;
    browser.click("[data-test=new-job]").await?;
    browser.fill("#job-name", "never").await?;
    browser.fill("#job-command", "true").await?;
    browser.click("[data-test=save]").await?;
    browser.text("[data-test=error-cron]", |text| text.contains("empty")).await?;
    Ok(())
}

#[tokio::test]
async fn a_time_zone_that_is_cleared_stays_and_the_preview_says_so() -> Result<()> {
    let (dev, browser) = jobs(1300, 1000).await?;
    let job = json!({
        "trigger": {"cron": ["30 2 * * *"], "zone": "Europe/Berlin"},
        "driver": {"shell": {"command": "true"}},
    });
    put_job(&dev, "zoned", &job).await?;
    open_form(&dev, &browser, "zoned").await?;
    browser.find("#job-zone").await?.clear().await?;
    browser.fill("#job-cron", "0 12 * * *").await?;
    browser
        .text("[data-test=preview-words]", |text| text.contains("12:00") && text.contains("Europe/Berlin"))
        .await?;
    let placeholder = browser.run("return document.querySelector('#job-zone').placeholder").await?;
    assert_eq!(placeholder, "keeps Europe/Berlin");
    browser.screenshot("form-zone").await?;
    browser.click("[data-test=save]").await?;
    browser.text("[data-test=job-name]", |text| text == "zoned").await?;
    assert_eq!(
        get_job(&dev, "zoned").await?["trigger"],
        json!({"cron": ["0 12 * * *"], "zone": "Europe/Berlin"})
    );
    Ok(())
}

#[tokio::test]
async fn a_save_whose_answer_is_lost_is_found_out() -> Result<()> {
    let (dev, browser) = jobs(1300, 1000).await?;
    let job = |description: &str| {
        json!({
            "description": description, "timeout": "120m",
            "trigger": {"cron": "0 0 1 1 *"}, "driver": {"shell": {"command": "true"}},
        })
    };
    put_job(&dev, "lossy", &job("")).await?;

    // At once, since the job can be read.
    open_form(&dev, &browser, "lossy").await?;
    lose_answers(&browser, "method === 'PUT'").await?;
    browser.fill("#job-description", "first").await?;
    browser.click("[data-test=save]").await?;
    browser.text("[data-test=job-name]", |text| text == "lossy").await?;
    assert_eq!(get_job(&dev, "lossy").await?["description"], "first");

    // Only with the next save, where it cannot.
    open_form(&dev, &browser, "lossy").await?;
    lose_answers(&browser, "path.endsWith('/jobs/lossy')").await?;
    browser.fill("#job-description", "second").await?;
    browser.click("[data-test=save]").await?;
    browser.text("[data-test=form-error]", |text| text.contains("not known whether")).await?;
    browser.screenshot("save-lost").await?;
    lose_answers(&browser, "false").await?;
    browser.click("[data-test=save]").await?;
    browser.text("[data-test=job-name]", |text| text == "lossy").await?;
    assert_eq!(get_job(&dev, "lossy").await?["description"], "second");

    // A new job, likewise.
    browser.click("[data-test=new-job]").await?;
    lose_answers(&browser, "path.startsWith('/api/v1/jobs')").await?;
    browser.fill("#job-name", "a-new-one").await?;
    browser.fill("#job-command", "true").await?;
    browser.fill("#job-cron", "0 0 1 1 *").await?;
    browser.click("[data-test=save]").await?;
    browser.text("[data-test=form-error]", |text| text.contains("not known whether")).await?;
    lose_answers(&browser, "false").await?;
    browser.click("[data-test=save]").await?;
    browser.text("[data-test=job-name]", |text| text == "a-new-one").await?;

    // What somebody else saved is nobody's lost save.
    open_form(&dev, &browser, "lossy").await?;
    put_job(&dev, "lossy", &job("theirs")).await?;
    browser.fill("#job-description", "third").await?;
    browser.click("[data-test=save]").await?;
    browser.text("[data-test=form-error]", |text| text.contains("saved by somebody else")).await?;
    assert_eq!(get_job(&dev, "lossy").await?["description"], "theirs");
    Ok(())
}
