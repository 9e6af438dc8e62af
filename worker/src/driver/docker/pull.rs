//! Fetches an image.

use std::{path::Path, time::Duration};

use common::job::docker::Image;
use futures::StreamExt as _;
use tokio::{task::spawn_blocking, time::timeout};

use super::{
    auth,
    engine::{Class, Client, EngineError},
};
use crate::driver::StartError;

/// A registry from which nothing comes for so long has stalled.
const SILENCE: Duration = Duration::from_secs(300);

/// Fetches an image; `told` hears how far it is. Dropping it ends the fetch.
pub(super) async fn pull(
    client: &Client,
    image: &Image,
    auth_file: Option<&Path>,
    mut told: impl FnMut(String) + Send,
) -> Result<(), StartError> {
    let credentials = match auth_file {
        None => None,
        Some(file) => {
            let (path, wanted) = (file.to_owned(), image.clone());
            let read = spawn_blocking(move || auth::find(&path, &wanted)).await;
            let read = read.map_err(|_| StartError::new("the worker is shutting down"))?;
            read.map_err(|error| {
                StartError::new(format!(
                    "the registry credentials in {} cannot be used: {error}",
                    file.display()
                ))
            })?
        }
    };
    let failed = |error: EngineError| match error.class {
        Class::Away => {
            StartError::new(format!("the container engine went away while it fetched image {image}: {error}"))
        }
        _ => StartError::new(format!("image {image} cannot be fetched: {error}")),
    };
    let mut words = std::pin::pin!(client.pull(image.parts(), credentials));
    loop {
        match timeout(SILENCE, words.next()).await {
            Ok(Some(Ok(word))) => told(word.status.unwrap_or_default()),
            Ok(Some(Err(error))) => return Err(failed(error)),
            Ok(None) => return Ok(()),
            Err(_) => {
                let seconds = SILENCE.as_secs();
                let why = format!(
                    "image {image} cannot be fetched: nothing came from its registry for {seconds} s"
                );
                return Err(StartError::new(why));
            }
        }
    }
}
