//! The URI: read once, and never shown with its password.

use mongodb::options::{Acknowledgment, ClientOptions, ConnectionString, HostInfo, WriteConcern};

use super::{MongoOptions, failure::Failure};

/// Where runs are logged when the URI names no database.
const DEFAULT_DATABASE: &str = "quorate";

/// MongoDB's limit.
const MAX_DATABASE_BYTES: usize = 63;

/// A URI that can never work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("MongoDB URI {uri:?}: {problem}; use, for example, \"mongodb://127.0.0.1:27017/quorate\"")]
pub struct MongoUriError {
    /// The URI, its user and password left out.
    uri: String,
    problem: String,
}

/// Which database on which servers.
pub(super) struct Target {
    /// As the URI has them: `db1:27017,db2:27017`. The rest of the URI may hold secrets.
    pub(super) hosts: String,
    pub(super) database: String,
    shown: Shown,
    connection: ConnectionString,
}

/// Not derived: the connection string holds the password.
impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.hosts, self.database)
    }
}

impl Target {
    pub(super) fn parse(uri: &str) -> Result<Self, MongoUriError> {
        let shown = Shown::new(uri);
        let connection =
            ConnectionString::parse(uri).map_err(|error| shown.refuse(&error.kind.to_string()))?;
        let unacknowledged = WriteConcern::builder().w(Acknowledgment::Nodes(0)).build();
        if connection.write_concern.as_ref().is_some_and(|concern| concern.w == unacknowledged.w) {
            return Err(shown.refuse("with w=0 nobody would know whether a record was stored"));
        }
        let database = match connection.default_database.as_deref() {
            None | Some("") => DEFAULT_DATABASE.to_owned(),
            Some(name) => name.to_owned(),
        };
        if database.contains('.') || database.len() > MAX_DATABASE_BYTES {
            return Err(shown.refuse("a database's name has no '.' and at most 63 bytes"));
        }
        Ok(Self { hosts: shown.hosts(), database, shown, connection })
    }

    /// True when a name server has to be asked for the servers' names first.
    pub(super) fn needs_name_server(&self) -> bool {
        matches!(self.connection.host_info, HostInfo::DnsRecord(_))
    }

    /// The driver's options: the URI's, and ours where it has none.
    pub(super) async fn client_options(&self, ours: &MongoOptions) -> mongodb::error::Result<ClientOptions> {
        let mut options = ClientOptions::parse(self.connection.clone()).await?;
        options.server_selection_timeout.get_or_insert(ours.server_selection_timeout);
        // Together they bound how long a server that froze counts as alive.
        options.connect_timeout.get_or_insert(ours.server_selection_timeout * 2);
        options.heartbeat_freq.get_or_insert(ours.server_selection_timeout * 3);
        options.app_name.get_or_insert_with(|| "quorate".to_owned());
        // Acknowledged means on disk.
        let concern = options.write_concern.get_or_insert_with(WriteConcern::default);
        concern.w.get_or_insert(Acknowledgment::Majority);
        concern.journal.get_or_insert(true);
        Ok(options)
    }

    /// What the driver says of the URI once it looks at all of it.
    pub(super) fn refuse(&self, failure: &Failure) -> MongoUriError {
        self.shown.refuse(&failure.problem)
    }
}

/// A URI as people may see it.
struct Shown {
    uri: String,
    /// Every piece of what stands before the last `@`, to tell whether a message repeats one of them.
    secrets: Vec<String>,
}

impl Shown {
    fn new(uri: &str) -> Self {
        let (scheme, rest) = uri.split_once("://").unwrap_or(("", uri));
        let (user, hosts) = rest.rsplit_once('@').unwrap_or(("", rest));
        let separator = if uri.contains("://") { "://" } else { "" };
        Self {
            uri: format!("{scheme}{separator}{hosts}"),
            secrets: user
                .split(['@', '/', ':', '?', '&', '=', ',', '%'])
                .filter(|piece| !piece.is_empty())
                .map(str::to_owned)
                .collect(),
        }
    }

    fn hosts(&self) -> String {
        let hosts = self.uri.split_once("://").map_or(self.uri.as_str(), |(_, rest)| rest);
        hosts.split(['/', '?']).next().unwrap_or_default().to_owned()
    }

    fn refuse(&self, problem: &str) -> MongoUriError {
        let problem = problem.trim_start_matches("An invalid argument was provided: ");
        let problem = if self.secrets.iter().any(|secret| problem.contains(secret.as_str())) {
            "it cannot be read; write the characters : / ? # [ ] @ % of user and password as %3A, %2F and so on"
        } else {
            problem
        };
        MongoUriError { uri: self.uri.clone(), problem: problem.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_is_the_paths_or_quorate() {
        for (uri, database, hosts) in [
            ("mongodb://127.0.0.1:27017", "quorate", "127.0.0.1:27017"),
            ("mongodb://127.0.0.1:27017/", "quorate", "127.0.0.1:27017"),
            ("mongodb://a:1,b:2/cron?replicaSet=rs", "cron", "a:1,b:2"),
            ("mongodb://joe:s%40cret@a/?authSource=admin", "quorate", "a"),
        ] {
            let target = Target::parse(uri).unwrap();
            assert_eq!((target.database.as_str(), target.hosts.as_str()), (database, hosts), "{uri}");
        }
    }

    #[test]
    fn a_bad_uri_is_refused_without_its_password() {
        for uri in [
            "",
            "127.0.0.1:27017",
            "http://joe:s3cret@127.0.0.1",
            "mongodb://joe:s3cret@",
            "mongodb://joe:s3cret@h:port",
            "mongodb://joe:s3c/ret@h:1",
            "mongodb://joe:s3c?ret=1@h:1",
            "mongodb://joe:s3c@ret@h:1",
            "mongodb://joe:s3c%ret@h:1",
            "mongodb://joe:s3cret@h:1/a.b",
            "mongodb://joe:s3cret@h:1/?w=0",
            "mongodb://joe:s3cret@h:1/?connectTimeoutMS=soon",
        ] {
            let error = Target::parse(uri).unwrap_err().to_string();
            assert!(error.contains("use, for example"), "{error}");
            for part in ["s3c", "ret"] {
                assert!(!error.contains(part), "{uri}: {error}");
            }
        }
        let target = Target::parse("mongodb://joe:s3cret@h:1/cron").unwrap();
        assert_eq!(format!("{target:?}"), "h:1/cron");
    }
}
