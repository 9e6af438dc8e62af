//! The native API, as the client commands use it.

use std::{fmt, net::IpAddr, sync::Once, time::Duration};

use common::api::{
    Existing, JobPage, JobView, OutputView, Problem, ProblemKind, RunAttempt, RunList, RunRequested, STALE,
    SaveOutcome, SaveReport, SaveResult, WorkerDrain, WorkerList, WorkerView,
};
use common::span::Span;
use reqwest::{
    Method, RequestBuilder, Response, StatusCode, Url,
    header::{CONTENT_TYPE, IF_MATCH},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// What the largest page holds.
pub(crate) const PAGE: u32 = 500;

/// Longer than a manager takes whose etcd is away to say so.
const TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How much of an answer that is not a problem document is shown.
const SHOWN_CHARS: usize = 300;

/// A manager.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    old_answers: OldAnswers,
    /// One warning a command is enough.
    warned: Once,
}

/// What to do with an answer that may be old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OldAnswers {
    /// Take it, with a warning.
    Take,
    Refuse,
}

/// Why a request did not do what it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// No connection, so that nothing was sent: whatever is asked next will not be answered either.
    #[error(
        "{server} does not answer ({cause}): is `quorate dev` or `quorate manager` running there? --server URL names another"
    )]
    Unreachable { server: String, cause: String },
    /// Sent, and the answer is lost: a write may have happened.
    #[error("no answer came from {server} ({cause}): the request may have been carried out")]
    NoAnswer { server: String, cause: String },
    /// The answer may be old, which this command does not take.
    #[error(
        "{server} cannot reach etcd ({reason}) and answers with what it knew before, which may be old: \
         try again when etcd is back, or ask another manager with --server URL"
    )]
    Stale { server: String, reason: String },
    /// The manager said no, and why.
    #[error("{}", Refusal(.0))]
    Refused(Box<Problem>),
    /// Something else answered.
    #[error("{server} answered {status}, but not as a manager does: {text}")]
    Foreign { server: String, status: StatusCode, text: String },
}

impl ClientError {
    /// What kind of no the manager said.
    fn kind(&self) -> Option<&ProblemKind> {
        match self {
            Self::Refused(problem) => Some(&problem.kind),
            _ => None,
        }
    }

    /// True: what was sent is wrong, and would be again.
    pub(crate) fn is_bad_input(&self) -> bool {
        self.kind().is_some_and(ProblemKind::is_bad_input)
    }

    /// True: there is one of that name.
    pub(crate) fn is_taken(&self) -> bool {
        self.kind() == Some(&ProblemKind::JobExists)
    }

    /// True: there is no such thing.
    pub(crate) fn is_not_found(&self) -> bool {
        self.kind() == Some(&ProblemKind::NotFound)
    }

    /// True: it is not at the revision that was named.
    pub(crate) fn is_changed(&self) -> bool {
        self.kind().is_some_and(ProblemKind::is_precondition)
    }

    /// True: nobody said whether what was asked for is done.
    pub(crate) fn is_in_doubt(&self) -> bool {
        match self {
            Self::NoAnswer { .. } | Self::Foreign { .. } => true,
            Self::Refused(problem) => problem.kind.is_in_doubt(),
            Self::Unreachable { .. } | Self::Stale { .. } => false,
        }
    }
}

/// A problem in lines: the case, then a line for each field.
struct Refusal<'a>(&'a Problem);

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = self.0;
        // The detail says the same as the fields, in one line.
        if problem.errors.is_empty() && !problem.detail.is_empty() {
            return f.write_str(&problem.detail);
        }
        f.write_str(&problem.title)?;
        for error in &problem.errors {
            write!(f, "\n{error}")?;
        }
        Ok(())
    }
}

/// What became of a saved job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Saved {
    Created,
    Replaced,
}

/// What became of one of many jobs.
fn outcome(result: SaveResult) -> Result<Saved, ClientError> {
    match (result.problem, result.result) {
        (Some(problem), _) => Err(ClientError::Refused(Box::new(problem))),
        (None, SaveOutcome::Created) => Ok(Saved::Created),
        (None, _) => Ok(Saved::Replaced),
    }
}

/// Jobs in one request, and their bytes: a manager takes more of both.
const SAVE_JOBS: usize = 1_000;
const SAVE_BYTES: usize = 1 << 20;

/// Where to cut jobs into requests.
pub(crate) fn in_requests(jobs: &[Value]) -> Vec<&[Value]> {
    let (mut requests, mut begin, mut bytes) = (Vec::new(), 0, 0);
    for (n, job) in jobs.iter().enumerate() {
        let size = job.to_string().len();
        if n > begin && (n - begin == SAVE_JOBS || bytes + size > SAVE_BYTES) {
            requests.push(&jobs[begin..n]);
            (begin, bytes) = (n, 0);
        }
        bytes += size;
    }
    if begin < jobs.len() {
        requests.push(&jobs[begin..]);
    }
    requests
}

/// True: no other machine can answer there.
fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => address.is_loopback() || address.is_unspecified(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

impl Client {
    /// A client of the manager at this URL.
    pub(crate) fn new(server: &str) -> anyhow::Result<Self> {
        let base = Url::parse(server).ok().filter(|url| !url.cannot_be_a_base()).ok_or_else(|| {
            crate::exit::BadInput(format!("{server:?} is not a URL; use, for example, http://127.0.0.1:8070"))
        })?;
        let mut http = reqwest::Client::builder();
        if is_this_machine(&base) {
            // A proxy would ask its own.
            http = http.no_proxy();
        }
        let http = http
            .user_agent(concat!("quorate/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { http, base, old_answers: OldAnswers::Take, warned: Once::new() })
    }

    /// The same for a command that had better fail than pass an old answer on.
    pub(crate) fn refusing_old_answers(self) -> Self {
        Self { old_answers: OldAnswers::Refuse, ..self }
    }

    /// A page of jobs behind this one.
    pub(crate) async fn jobs(&self, after: Option<&str>) -> Result<JobPage, ClientError> {
        let mut url = self.url(&["jobs"]);
        page(&mut url, PAGE, after);
        self.get(url).await
    }

    pub(crate) async fn job(&self, name: &str) -> Result<JobView, ClientError> {
        self.get(self.url(&["jobs", name])).await
    }

    /// Replaces a job that is still at this revision. It is sent as it was given: the manager says what is wrong with it.
    pub(crate) async fn replace_job(
        &self,
        name: &str,
        job: &Value,
        revision: i64,
    ) -> Result<Saved, ClientError> {
        let request = self.http.put(self.url(&["jobs", name])).header(IF_MATCH, format!("\"{revision}\""));
        self.send(request.json(job)).await?;
        Ok(Saved::Replaced)
    }

    /// Saves many jobs, each by itself, and says of each what became of it, in their order. An error: it was not said of
    /// any.
    pub(crate) async fn save_jobs(
        &self,
        jobs: &[Value],
        existing: Existing,
    ) -> Result<Vec<Result<Saved, ClientError>>, ClientError> {
        let mut url = self.url(&["save"]);
        url.query_pairs_mut().append_pair("existing", existing.name());
        let items: Vec<String> = jobs.iter().map(Value::to_string).collect();
        let request = self.http.post(url).header(CONTENT_TYPE, "application/json");
        let sent = self.send(request.body(format!("[{}]", items.join(",")))).await;
        let report: SaveReport = match sent {
            Ok(response) => self.decode(response).await?,
            // The request as a whole, and so each of its jobs.
            Err(ClientError::Refused(problem)) => {
                return Ok(jobs.iter().map(|_| Err(ClientError::Refused(problem.clone()))).collect());
            }
            Err(error) => return Err(error),
        };
        if report.results.len() != jobs.len() {
            let text = format!("{} results for {} jobs", report.results.len(), jobs.len());
            return Err(ClientError::Foreign { server: self.server(), status: StatusCode::OK, text });
        }
        Ok(report.results.into_iter().map(outcome).collect())
    }

    pub(crate) async fn delete_job(&self, name: &str) -> Result<(), ClientError> {
        self.act(Method::DELETE, &["jobs", name]).await
    }

    /// Deletes a job that is still at this revision.
    pub(crate) async fn delete_job_at(&self, name: &str, revision: i64) -> Result<(), ClientError> {
        let request = self.http.delete(self.url(&["jobs", name])).header(IF_MATCH, format!("\"{revision}\""));
        self.send(request).await.map(drop)
    }

    /// Kills, pauses or resumes a job, or resets its fence.
    pub(crate) async fn job_action(&self, name: &str, action: &str) -> Result<(), ClientError> {
        self.act(Method::POST, &["jobs", name, action]).await
    }

    pub(crate) async fn run_job(&self, name: &str) -> Result<RunRequested, ClientError> {
        let request = self.http.request(Method::POST, self.url(&["jobs", name, "run"]));
        self.decode(self.send(request).await?).await
    }

    /// Hands in a task.
    pub(crate) async fn submit(&self, task: &Value) -> Result<RunRequested, ClientError> {
        let request = self.http.request(Method::POST, self.url(&["runs"])).json(task);
        self.decode(self.send(request).await?).await
    }

    /// A page of runs that match, newest first.
    pub(crate) async fn runs(
        &self,
        filter: &[(&str, &str)],
        limit: u32,
        after: Option<&str>,
    ) -> Result<RunList, ClientError> {
        let mut url = self.url(&["runs"]);
        url.query_pairs_mut().extend_pairs(filter);
        page(&mut url, limit, after);
        self.get(url).await
    }

    pub(crate) async fn run(&self, run: &str) -> Result<RunAttempt, ClientError> {
        self.get(self.url(&["runs", run])).await
    }

    /// The output of a run's attempt from this byte on; the manager waits this long for more.
    pub(crate) async fn output(
        &self,
        run: &str,
        attempt: u32,
        from: u64,
        wait: Duration,
    ) -> Result<OutputView, ClientError> {
        let mut url = self.url(&["runs", run, "output"]);
        url.query_pairs_mut()
            .append_pair("attempt", &attempt.to_string())
            .append_pair("from", &from.to_string())
            .append_pair("wait", &Span(wait).to_string());
        self.get(url).await
    }

    pub(crate) async fn kill_run(&self, run: &str) -> Result<(), ClientError> {
        self.act(Method::POST, &["runs", run, "kill"]).await
    }

    /// A page of workers.
    pub(crate) async fn workers(&self, after: Option<&str>) -> Result<WorkerList, ClientError> {
        let mut url = self.url(&["workers"]);
        page(&mut url, PAGE, after);
        self.get(url).await
    }

    /// A live worker.
    pub(crate) async fn worker(&self, id: &str) -> Result<WorkerView, ClientError> {
        self.get(self.url(&["workers", id])).await
    }

    /// Has a worker take nothing new.
    pub(crate) async fn drain(&self, id: &str, note: &str, evict: bool) -> Result<WorkerDrain, ClientError> {
        let mut url = self.url(&["workers", id, "drain"]);
        url.query_pairs_mut().append_pair("note", note).append_pair("evict", &evict.to_string());
        self.decode(self.send(self.http.request(Method::POST, url)).await?).await
    }

    /// Lets a worker take runs again.
    pub(crate) async fn undrain(&self, id: &str) -> Result<WorkerDrain, ClientError> {
        let request = self.http.request(Method::POST, self.url(&["workers", id, "undrain"]));
        self.decode(self.send(request).await?).await
    }

    /// The URL of a resource; every part is quoted, so that no name becomes a path.
    fn url(&self, parts: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["api", "v1"]).extend(parts);
        }
        url
    }

    async fn get<T: DeserializeOwned>(&self, url: Url) -> Result<T, ClientError> {
        self.decode(self.send(self.http.get(url)).await?).await
    }

    async fn act(&self, method: Method, parts: &[&str]) -> Result<(), ClientError> {
        self.send(self.http.request(method, self.url(parts))).await.map(drop)
    }

    /// The answer, if it is a good one.
    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|error| self.no_answer(&error))?;
        self.check_age(&response)?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.bytes().await.map_err(|error| self.no_answer(&error))?;
        Err(match serde_json::from_slice(&body) {
            Ok(problem) => ClientError::Refused(Box::new(problem)),
            Err(_) => self.foreign(status, &body),
        })
    }

    async fn decode<T: DeserializeOwned>(&self, response: Response) -> Result<T, ClientError> {
        let status = response.status();
        let body = response.bytes().await.map_err(|error| self.no_answer(&error))?;
        serde_json::from_slice(&body).map_err(|_| self.foreign(status, &body))
    }

    /// Warns of an answer that may be old ("there is no such job" may be, too), or refuses it; what is an error anyway
    /// is told as the manager tells it.
    fn check_age(&self, response: &Response) -> Result<(), ClientError> {
        let Some(reason) = response.headers().get(STALE) else { return Ok(()) };
        let reason = crate::output::visible(&String::from_utf8_lossy(reason.as_bytes()));
        let server = self.server();
        match self.old_answers {
            OldAnswers::Take => self.warned.call_once(|| {
                tracing::warn!(
                    "{server} cannot reach etcd ({reason}): what it says is what it knew before, and may be old"
                );
            }),
            OldAnswers::Refuse if response.status().is_success() => {
                return Err(ClientError::Stale { server, reason });
            }
            OldAnswers::Refuse => {}
        }
        Ok(())
    }

    fn no_answer(&self, error: &reqwest::Error) -> ClientError {
        let mut cause: &dyn std::error::Error = error;
        // The innermost says why: "Connection refused".
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        let cause = if error.is_timeout() { "timed out".to_owned() } else { cause.to_string() };
        let server = self.server();
        if error.is_connect() {
            ClientError::Unreachable { server, cause }
        } else {
            ClientError::NoAnswer { server, cause }
        }
    }

    fn foreign(&self, status: StatusCode, body: &[u8]) -> ClientError {
        let text = String::from_utf8_lossy(body);
        let text = text.trim().chars().take(SHOWN_CHARS).collect::<String>();
        ClientError::Foreign { server: self.server(), status, text: crate::output::visible(&text) }
    }

    fn server(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }
}

fn page(url: &mut Url, limit: u32, after: Option<&str>) {
    let mut query = url.query_pairs_mut();
    query.append_pair("limit", &limit.to_string());
    if let Some(after) = after {
        query.append_pair("after", after);
    }
}

/// What a command sends when it sends a job of its own making.
pub(crate) fn to_value(job: &impl Serialize) -> anyhow::Result<Value> {
    Ok(serde_json::to_value(job)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_its_names() {
        let is_this = |url: &str| is_this_machine(&Url::parse(url).unwrap());
        for url in [
            "http://127.0.0.1:8070",
            "http://127.3.2.1",
            "http://localhost:8070",
            "https://LocalHost.",
            "http://a.localhost/",
            "http://[::1]:8070/x",
            "http://0.0.0.0:8070",
        ] {
            assert!(is_this(url), "{url}");
        }
        for url in
            ["http://10.0.0.1:8070", "http://localhost.example", "http://mylocalhost", "http://[2001:db8::1]"]
        {
            assert!(!is_this(url), "{url}");
        }
    }

    #[test]
    fn many_jobs_go_in_requests_of_bounded_count_and_size() {
        let lengths = |jobs: &[Value]| in_requests(jobs).iter().map(|jobs| jobs.len()).collect::<Vec<_>>();
        assert_eq!(lengths(&vec![Value::from(7); 2_500]), [1_000, 1_000, 500]);
        let large = Value::from("x".repeat(SAVE_BYTES / 2));
        assert_eq!(lengths(&vec![large; 3]), [1, 1, 1]);
        assert_eq!(lengths(&[Value::from("x".repeat(2 * SAVE_BYTES)), Value::from(7)]), [1, 1]);
        assert!(lengths(&[]).is_empty());
    }
}
