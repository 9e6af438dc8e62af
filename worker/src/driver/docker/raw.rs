//! What an engine is asked without the library: its models take what Docker answers and not all that podman does (a stop
//! signal is a number there), and its requests always name a version, which has to be known first.

use std::{path::Path, time::Duration};

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, body::Bytes, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{net::UnixStream, time::timeout};

use super::failure::EngineError;

/// An engine's word on one container has some kilobytes.
const LONGEST_ANSWER: usize = 8 << 20;

/// Asks for `path`, and reads the answer.
pub(super) async fn get<T: DeserializeOwned>(
    socket: &Path,
    path: &str,
    patience: Duration,
) -> Result<T, EngineError> {
    let answer = timeout(patience, ask(socket, path)).await;
    let (status, body) = answer.map_err(|_| EngineError::away("it did not answer in time"))??;
    if status == 200 {
        let strange =
            |error| EngineError::said(status, &format!("its answer to {path} cannot be read: {error}"));
        return serde_json::from_slice(&body).map_err(strange);
    }
    let said: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    Err(EngineError::said(status, said["message"].as_str().unwrap_or_default()))
}

async fn ask(socket: &Path, path: &str) -> Result<(u16, Bytes), EngineError> {
    let stream = UnixStream::connect(socket).await.map_err(|error| EngineError::away(error.to_string()))?;
    let broken = |error: hyper::Error| EngineError::away(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let request = Request::get(path).header(HOST, "engine").body(Empty::<Bytes>::new());
    let request = request.map_err(|error| EngineError::said(400, &error.to_string()))?;
    let answer = async move {
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await;
        let body = body.map_err(|error| EngineError::away(error.to_string()))?;
        Ok((status, body.to_bytes()))
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // It carries the answer; when it ends first, the answer is there or never will be.
        _ = connection => answer.await,
    }
}
