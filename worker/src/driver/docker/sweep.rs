//! Ends and removes containers that are nobody's any more, by their labels: for a guard whose worker is gone, for a worker
//! that finds what its earlier life left, and for runs whose container could not be removed at once.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep};

use super::{
    address::EngineAddress,
    engine::{Class, Client, Engine, EngineError, Listed},
    labels,
};

/// Between two tries: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// As long as an engine answers, it is worth so much time.
const AT_LEAST: Duration = Duration::from_secs(10);

/// So many looks in a row have to find nothing: one may just be being made.
const QUIET_LOOKS: u32 = 2;

/// Which containers of a life may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spared {
    /// None: its worker is gone.
    None,
    /// Those whose job keeps them on lease loss: the trust in the worker has run out.
    Kept,
}

/// Removes the containers of a worker's life, again and again until there is none; gives how many there were. An error:
/// the engine did not answer within `patience`, or something does not go.
pub(crate) async fn session(
    address: &EngineAddress,
    token: &str,
    spared: Spared,
    patience: Duration,
) -> Result<usize, EngineError> {
    let engine = Engine::at(address.clone());
    let of_life = [(labels::SESSION, token)];
    until_none(&engine, &of_life, |found| spared == Spared::None || !is_kept(found), patience).await
}

/// The same of one attempt of a run in this life.
pub(super) async fn attempt(
    engine: &Engine,
    (run, attempt, token): (&str, &str, &str),
    patience: Duration,
) -> Result<usize, EngineError> {
    let of_attempt = [(labels::RUN, run), (labels::ATTEMPT, attempt), (labels::SESSION, token)];
    until_none(engine, &of_attempt, |_| true, patience).await
}

/// The same of all other lives in this data directory, and of the life `earlier`.
pub(super) async fn earlier_lives(
    engine: &Engine,
    (place, token): (&str, &str),
    earlier: Option<&str>,
    patience: Duration,
) -> Result<usize, EngineError> {
    let mut removed = 0;
    if !place.is_empty() {
        let of_place = [(labels::PLACE, place)];
        let is_other =
            |found: &Listed| found.labels.get(labels::SESSION).is_some_and(|session| session != token);
        removed += until_none(engine, &of_place, is_other, patience).await?;
    }
    if let Some(earlier) = earlier.filter(|earlier| !earlier.is_empty()) {
        removed += until_none(engine, &[(labels::SESSION, earlier)], |_| true, patience).await?;
    }
    Ok(removed)
}

fn is_kept(found: &Listed) -> bool {
    found.labels.get(labels::ON_LEASE_LOSS).is_some_and(|value| value == labels::KEEP)
}

async fn until_none(
    engine: &Engine,
    wanted: &[(&str, &str)],
    is_meant: impl Fn(&Listed) -> bool,
    patience: Duration,
) -> Result<usize, EngineError> {
    let begun = Instant::now();
    let (mut quiet, mut removed, mut pause) = (0, 0, FIRST_PAUSE);
    loop {
        match look(engine, wanted, &is_meant).await {
            Ok(0) if quiet + 1 == QUIET_LOOKS => return Ok(removed),
            Ok(0) => (quiet, pause) = (quiet + 1, FIRST_PAUSE),
            Ok(gone) => {
                (quiet, pause) = (0, FIRST_PAUSE);
                removed += gone;
                if begun.elapsed() > patience.max(AT_LEAST) {
                    let message = "new ones come again and again".to_owned();
                    return Err(EngineError { class: Class::Other, message });
                }
            }
            Err(error) => {
                engine.forget();
                quiet = 0;
                if begun.elapsed() >= patience {
                    return Err(error);
                }
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Removes what there is now; gives how many.
async fn look(
    engine: &Engine,
    wanted: &[(&str, &str)],
    is_meant: impl Fn(&Listed) -> bool,
) -> Result<usize, EngineError> {
    let client = engine.client().await?;
    let found = client.list(wanted).await?;
    let meant: Vec<&Listed> = found.iter().filter(|found| is_meant(found)).collect();
    // All at once: a lease ends soon.
    let done = join_all(meant.iter().map(|found| end(&client, &found.id))).await;
    done.into_iter().collect::<Result<Vec<()>, _>>().map(|gone| gone.len())
}

/// Killed first, since a removal may begin with a polite request and a wait.
async fn end(client: &Client, id: &str) -> Result<(), EngineError> {
    if let Err(error) = client.kill(id, "KILL").await {
        tracing::debug!(container = id, %error, "a container that is to go cannot be killed");
    }
    client.remove(id).await
}
