//! Calls of the managers' API, spread over all of them.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use reqwest::{Client, Method};
use serde_json::Value;

/// The managers of a cluster.
pub struct Api {
    client: Client,
    managers: Vec<String>,
    calls: AtomicUsize,
}

/// A client that knows no proxy of this machine.
pub fn client() -> Client {
    // An error says that somebody in this process was first, which is as good.
    rustls::crypto::ring::default_provider().install_default().ok();
    Client::builder().timeout(Duration::from_secs(20)).no_proxy().build().expect("plain settings build")
}

impl Api {
    /// Of managers at `host:port`.
    pub fn new(managers: Vec<String>) -> Self {
        Self { client: client(), managers, calls: AtomicUsize::new(0) }
    }

    /// Status and body of a call to the next manager.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        let turn = self.calls.fetch_add(1, Ordering::Relaxed) % self.managers.len();
        let url = format!("http://{}{path}", self.managers[turn]);
        let request = self.client.request(method.clone(), &url);
        let request = if let Some(body) = body { request.json(body) } else { request };
        let answer = request.send().await.with_context(|| format!("{method} {path}"))?;
        let status = answer.status().as_u16();
        let text = answer.text().await.with_context(|| format!("{method} {path}"))?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    async fn expect(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let (status, answer) = self.call(method.clone(), path, body).await?;
        if !(200..300).contains(&status) {
            bail!("{method} {path}: {status} {answer}");
        }
        Ok(answer)
    }

    /// What a path shows.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.expect(Method::GET, path, None).await
    }

    /// Saves a job.
    pub async fn put_job(&self, name: &str, job: &Value) -> Result<Value> {
        self.expect(Method::PUT, &format!("/api/v1/jobs/{name}"), Some(job)).await
    }

    /// Deletes a job.
    pub async fn delete_job(&self, name: &str) -> Result<Value> {
        self.expect(Method::DELETE, &format!("/api/v1/jobs/{name}"), None).await
    }

    /// Runs a job now; the run.
    pub async fn run_job(&self, name: &str) -> Result<String> {
        let answer = self.expect(Method::POST, &format!("/api/v1/jobs/{name}/run"), None).await?;
        Ok(answer["run"].as_str().context("an answer without a run")?.to_owned())
    }
}
