//! Real servers on free ports. Their programs come from `tests/run`, which installs them under `target/tools/bin`.
//!
//! Tests that only need *a* server share one and keep to keys or a database of their own; tests that stop, freeze
//! or kill a server start one for themselves. Whatever happens to a test process, its servers end with it.

use std::{
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
};

use common::store::key::Keys;

pub use engine::{Engine, EngineKind, IMAGE, ask_engine};
pub use etcd::{Durability, Etcd, EtcdCluster, EtcdVersion, Peers, shared_etcd, shared_etcd_35};
pub use mongod::{Mongod, shared_mongodb};
pub use server::{Leftovers, Room, Server, free_port};

mod certificate;
mod engine;
mod etcd;
mod mongod;
mod server;

/// Keys under a root that no other test uses.
pub fn unique_keys() -> Keys {
    Keys::new(&format!("/it-{}/", unique())).expect("a hexadecimal root is a valid one")
}

/// A database name that no other test uses.
pub fn unique_database() -> String {
    format!("it-{}", unique())
}

fn unique() -> String {
    format!("{:x}-{:016x}", std::process::id(), random())
}

fn random() -> u64 {
    RandomState::new().hash_one(0)
}

/// The program of this name: named by an environment variable, installed by `tests/run`, or on the path.
/// Panics where there is none.
pub fn program(variable: &str, name: &str) -> PathBuf {
    if let Some(path) = setting(variable) {
        return path.into();
    }
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/bin").join(name);
    let path = setting("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|dir| dir.join(name));
    std::iter::once(installed).chain(on_path).find(|path| path.is_file()).unwrap_or_else(|| {
        panic!("this test needs the program {name}: run `tests/run`, which installs it, or set {variable}")
    })
}

#[expect(clippy::disallowed_methods, reason = "tests are configured by tests/run through the environment")]
pub(crate) fn setting(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{Document, doc};

    use super::*;

    #[tokio::test]
    async fn a_shared_mongodb_keeps_what_is_written_to_a_database_of_ones_own() {
        let client = mongodb::Client::with_uri_str(shared_mongodb().await).await.unwrap();
        let collection = client.database(&unique_database()).collection::<Document>("log");
        collection.insert_one(doc! { "_id": 1 }).await.unwrap();
        assert_eq!(collection.count_documents(doc! {}).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_mongod_of_ones_own_comes_back_with_its_data_after_being_killed() {
        let mut mongod = Mongod::start().await;
        let client = mongodb::Client::with_uri_str(mongod.uri()).await.unwrap();
        let collection = client.database("own").collection::<Document>("log");
        let safely = mongodb::options::WriteConcern::builder().journal(true).build();
        collection.insert_one(doc! { "_id": 1 }).write_concern(safely).await.unwrap();
        mongod.freeze().await;
        mongod.thaw();
        mongod.kill_9();
        mongod.restart().await;
        assert_eq!(collection.count_documents(doc! {}).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_server_and_its_data_end_with_their_owner() {
        let etcd = Etcd::start(EtcdVersion::V34).await;
        let (pid, dir) = (etcd.pid(), etcd.dir().to_owned());
        assert!(server::is_alive(pid) && dir.is_dir());
        drop(etcd);
        assert!(!server::is_alive(pid) && !dir.exists());
    }
}
