//! A Chromium of a test's own, driven through chromedriver.

use std::{
    fmt::Debug,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result};
use fantoccini::{Client, ClientBuilder, Locator, elements::Element};
use hyper_util::client::legacy::connect::HttpConnector;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::{Instant, sleep},
};

use crate::servers::{free_port, setting};

/// Long enough for a loaded machine; a healthy one needs a tenth of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser window, closed when dropped.
pub struct Browser {
    client: Client,
    driver: Child,
    /// None: it is being dropped.
    folder: Option<TempDir>,
}

impl Browser {
    /// Opens a window of `width` × `height`.
    pub async fn open(width: u32, height: u32) -> Result<Self> {
        let chromium = program("QUORATE_TEST_CHROMIUM", "chromium")?;
        let chromedriver = program("QUORATE_TEST_CHROMEDRIVER", "chromedriver")?;
        let port = free_port();
        let folder = tempfile::tempdir().context("make a folder")?;
        let profile = folder.path().join("profile");
        let driver = Command::new(&chromedriver)
            .arg(format!("--port={port}"))
            // It and the browser leave folders there.
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", chromedriver.display()))?;
        let url = format!("http://127.0.0.1:{port}");
        let listens = || async { Ok(TcpStream::connect(("127.0.0.1", port)).await?.peer_addr()?) };
        eventually("chromedriver", listens, |_| true).await?;
        let options = json!({
            "binary": chromium,
            "args": [
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
                "--no-first-run", "--disable-dev-shm-usage", "--hide-scrollbars", "--lang=en-US",
                format!("--user-data-dir={}", profile.display()),
                format!("--window-size={width},{height}"),
            ],
        });
        let capabilities = [("goog:chromeOptions".to_owned(), options)].into_iter().collect();
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&url)
            .await
            .context("open a browser window")?;
        Ok(Self { client, driver, folder: Some(folder) })
    }

    /// Goes to a URL.
    pub async fn go(&self, url: &str) -> Result<()> {
        self.client.goto(url).await.with_context(|| format!("go to {url}"))
    }

    /// The first visible element that matches, once there is one.
    pub async fn find(&self, css: &str) -> Result<Element> {
        eventually(css, || self.visible(css), Option::is_some).await?.context("the element just seen")
    }

    async fn visible(&self, css: &str) -> Result<Option<Element>> {
        for element in self.client.find_all(Locator::Css(css)).await? {
            if element.is_displayed().await? {
                return Ok(Some(element));
            }
        }
        Ok(None)
    }

    /// Presses an element. What a refresh replaces meanwhile is looked for again.
    pub async fn click(&self, css: &str) -> Result<()> {
        let press = || async {
            let element = self.visible(css).await?.context("not there")?;
            element.click().await?;
            Ok(())
        };
        eventually(&format!("{css} to press"), press, |()| true).await
    }

    /// Writes into a field in place of what is there.
    pub async fn fill(&self, css: &str, text: &str) -> Result<()> {
        let field = self.find(css).await?;
        field.clear().await?;
        field.send_keys(text).await.with_context(|| format!("fill {css}"))
    }

    /// The text of an element, once `accepts` it.
    pub async fn text(&self, css: &str, accepts: impl Fn(&str) -> bool) -> Result<String> {
        let read = || async {
            let element = self.visible(css).await?.context("not there")?;
            Ok(element.text().await?)
        };
        eventually(&format!("the text of {css}"), read, |text: &String| accepts(text)).await
    }

    /// How many elements match, once `accepts` it.
    pub async fn count(&self, css: &str, accepts: impl Fn(usize) -> bool) -> Result<usize> {
        let count = || async { Ok(self.client.find_all(Locator::Css(css)).await?.len()) };
        eventually(&format!("the number of {css}"), count, |count| accepts(*count)).await
    }

    /// What a script returns.
    pub async fn run(&self, script: &str) -> Result<serde_json::Value> {
        self.client.execute(script, Vec::new()).await.with_context(|| format!("run {script}"))
    }

    /// Puts what is seen into `target/screenshots/NAME.png`.
    pub async fn screenshot(&self, name: &str) -> Result<()> {
        let directory = target().join("screenshots");
        std::fs::create_dir_all(&directory).context("make the directory of screenshots")?;
        let png = self.client.screenshot().await.context("take a screenshot")?;
        std::fs::write(directory.join(format!("{name}.png")), png).context("write a screenshot")
    }
}

impl Drop for Browser {
    /// Chromium does not end with its driver. Its lock is a link to `HOST-PID`.
    #[expect(clippy::disallowed_methods, reason = "the condition is one that nobody tells")]
    fn drop(&mut self) {
        let Some(folder) = self.folder.take() else { return };
        let lock = std::fs::read_link(folder.path().join("profile/SingletonLock"));
        let pid = lock.ok().and_then(|link| link.to_string_lossy().rsplit('-').next()?.parse().ok());
        self.driver.start_kill().ok();
        if let Some(pid) = pid {
            // An error says that it has ended, which is what is wanted.
            kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
        // What ends still writes into it.
        let path = folder.keep();
        let deadline = Instant::now() + PATIENCE;
        while std::fs::remove_dir_all(&path).is_err() && path.exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target")
}

/// A program that a variable names, or that stands in `target/tools` or in the PATH.
fn program(variable: &str, name: &str) -> Result<PathBuf> {
    if let Some(path) = setting(variable) {
        return Ok(path.into());
    }
    let folders = ["", "bin", "usr/bin"].map(|folder| target().join("tools").join(folder));
    let in_path = setting("PATH").unwrap_or_default();
    folders
        .into_iter()
        .chain(std::env::split_paths(&in_path))
        .map(|folder| folder.join(name))
        .find(|path| {
            path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        })
        .with_context(|| {
            format!("no {name} here: `apt-get install chromium chromium-driver`, or name one in {variable}")
        })
}

/// Looks until `accepts` what `look` gives; after [`PATIENCE`] fails with what it gave last.
async fn eventually<T, F>(what: &str, mut look: impl FnMut() -> F, accepts: impl Fn(&T) -> bool) -> Result<T>
where
    T: Debug,
    F: Future<Output = Result<T>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look().await {
            Ok(value) if accepts(&value) => return Ok(value),
            seen if Instant::now() > deadline => anyhow::bail!("never saw {what}; last: {seen:?}"),
            _ => sleep(Duration::from_millis(100)).await,
        }
    }
}
