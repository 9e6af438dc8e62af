//! The command line's types, and nothing else. Settings are plain text here: [`crate::config`] gives them their
//! meaning, since each may also come from the environment or a file.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;

const SETTINGS_HELP: &str = "Every setting is also an environment variable and a key of the configuration file: --data-dir is \
     QUORATE_DATA_DIR and data_dir. Flag beats environment beats file; `quorate config` shows what is in force.";

/// A distributed job scheduler without a master.
#[derive(Debug, Parser)]
#[command(name = "quorate", version, after_help = SETTINGS_HELP, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: CommonFlags,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Clone, Debug, Default, Args, Serialize)]
pub(crate) struct CommonFlags {
    /// Configuration file, TOML or JSON [default: /etc/quorate/quorate.toml if there].
    #[arg(long, global = true, value_name = "FILE")]
    #[serde(skip)]
    pub(crate) config: Option<PathBuf>,
    /// What to log on standard error: error, warn, info, debug, trace, or a filter such as worker=debug,info.
    #[arg(long, global = true, value_name = "LEVEL")]
    pub(crate) log: Option<String>,
    /// How to log: text or json.
    #[arg(long, global = true, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Everything in one process, with stores of its own: no server needed.
    Dev(DevFlags),
    /// Serve the API and the page.
    Manager(ManagerFlags),
    /// Run jobs; or list the workers.
    #[command(args_conflicts_with_subcommands = true)]
    Worker(WorkerArgs),
    /// Save, list, run, kill, pause, resume and delete jobs.
    Job(JobArgs),
    /// List and kill runs, read their output.
    Run(RunArgs),
    /// Say in words what a cron expression means, and when it fires next.
    Next(NextArgs),
    /// Take over jobs from elsewhere.
    Import(ImportArgs),
    /// Write all jobs into a file that `job save` reads.
    Export(ExportArgs),
    /// Put a cluster's store in order.
    Admin(AdminArgs),
    /// Show every setting, and where it came from.
    Config(ConfigArgs),
}

impl Command {
    /// True: it serves or works until it is told to end.
    pub(crate) const fn is_role(&self) -> bool {
        matches!(self, Self::Dev(_) | Self::Manager(_) | Self::Worker(WorkerArgs { command: None, .. }))
    }
}

/// Where and how to serve.
#[derive(Clone, Debug, Default, Args, Serialize)]
pub(crate) struct ServeFlags {
    /// Address to serve on.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// off: serve without authentication, also beyond this machine.
    #[arg(long, value_name = "on|off")]
    pub(crate) auth: Option<String>,
}

/// A cluster's store.
#[derive(Clone, Debug, Default, Args, Serialize)]
pub(crate) struct EtcdFlags {
    /// etcd's endpoints, HOST:PORT, separated by commas; https:// turns TLS on, with --etcd-ca.
    #[arg(long, value_name = "ENDPOINTS", value_delimiter = ',')]
    pub(crate) etcd: Vec<String>,
    /// User for etcd.
    #[arg(long, value_name = "NAME")]
    pub(crate) etcd_user: Option<String>,
    /// File with that user's password.
    #[arg(long, value_name = "FILE")]
    pub(crate) etcd_password_file: Option<String>,
    /// File with the certificate authority that etcd's certificate is checked with (PEM).
    #[arg(long, value_name = "FILE")]
    pub(crate) etcd_ca: Option<String>,
    /// File with our certificate for etcd (PEM).
    #[arg(long, value_name = "FILE")]
    pub(crate) etcd_cert: Option<String>,
    /// File with that certificate's key (PEM).
    #[arg(long, value_name = "FILE")]
    pub(crate) etcd_key: Option<String>,
    /// What all keys in etcd begin with.
    #[arg(long, value_name = "PREFIX")]
    pub(crate) prefix: Option<String>,
}

/// The stores of a cluster.
#[derive(Clone, Debug, Default, Args, Serialize)]
pub(crate) struct ClusterFlags {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) etcd: EtcdFlags,
    /// MongoDB's URI.
    #[arg(long, value_name = "URI")]
    pub(crate) mongodb: Option<String>,
}

/// What the API accepts.
#[derive(Clone, Debug, Default, Args, Serialize)]
pub(crate) struct ApiFlags {
    /// Time zone of jobs that are saved without one [default: the machine's].
    #[arg(long, value_name = "ZONE")]
    pub(crate) zone: Option<String>,
    /// A further name under which browsers may reach the page; can be repeated.
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    pub(crate) allowed_host: Vec<String>,
}

/// How to run jobs.
#[derive(Clone, Debug, Default, Args, Serialize)]
pub(crate) struct ExecuteFlags {
    /// Directory for what has to survive a restart.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
    /// A label that jobs may require; can be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',')]
    pub(crate) label: Vec<String>,
    /// Runs at the same time.
    #[arg(long, value_name = "N")]
    pub(crate) slots: Option<String>,
    /// How long a worker that is gone keeps its running jobs.
    #[arg(long, value_name = "SPAN")]
    pub(crate) lease_ttl: Option<String>,
    /// How long the next worker waits for the first choice at a tick.
    #[arg(long, value_name = "SPAN")]
    pub(crate) hedge: Option<String>,
    /// Shell of jobs that name none.
    #[arg(long, value_name = "PATH")]
    pub(crate) shell: Option<String>,
    /// Addresses that HTTP jobs must not reach: loopback, private, link-local, separated by commas; or none.
    #[arg(long, value_name = "KINDS", value_delimiter = ',')]
    pub(crate) http_forbid: Vec<String>,
    /// Socket of the container engine, Docker's or podman's [default: `DOCKER_HOST`, else `/var/run/docker.sock`].
    #[arg(long, value_name = "SOCKET")]
    pub(crate) docker: Option<String>,
    /// File with what image registries are shown, as `docker login` writes it.
    #[arg(long, value_name = "FILE")]
    pub(crate) registry_auth: Option<String>,
}

#[derive(Clone, Debug, Default, Args, Serialize)]
pub(crate) struct DevFlags {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) serve: ServeFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) api: ApiFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) execute: ExecuteFlags,
}

#[derive(Clone, Debug, Default, Args, Serialize)]
pub(crate) struct ManagerFlags {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) cluster: ClusterFlags,
    /// How much of etcd's history to keep: a span, or all to leave it to etcd.
    #[arg(long, value_name = "SPAN|all")]
    pub(crate) etcd_history: Option<String>,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) serve: ServeFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) api: ApiFlags,
    /// Name among the managers [default: made of the host's name].
    #[arg(long, value_name = "NAME")]
    pub(crate) id: Option<String>,
}

#[derive(Clone, Debug, Default, Args, Serialize)]
pub(crate) struct WorkerFlags {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) cluster: ClusterFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) serve: ServeFlags,
    /// Address by which managers reach this worker [default: the one it serves on, or its host's name].
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) advertise: Option<String>,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) execute: ExecuteFlags,
    /// Name among the workers [default: made once, kept in the data directory].
    #[arg(long, value_name = "NAME")]
    pub(crate) id: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    #[command(flatten)]
    pub(crate) flags: WorkerFlags,
    #[command(subcommand)]
    pub(crate) command: Option<WorkerCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WorkerCommand {
    /// List the live workers.
    List(ClientFlags),
    /// Show one of them.
    Show {
        #[arg(value_name = "ID")]
        id: String,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Have a worker take nothing new, also after a restart.
    Drain {
        #[arg(value_name = "ID")]
        id: String,
        /// Why, for everybody who looks at it.
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
        /// End what it runs; what is to run at least once runs again elsewhere.
        #[arg(long)]
        evict: bool,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Let a drained worker take runs again.
    Undrain {
        #[arg(value_name = "ID")]
        id: String,
        #[command(flatten)]
        client: ClientFlags,
    },
}

impl WorkerCommand {
    /// How it talks to a manager.
    pub(crate) const fn client(&self) -> &ClientFlags {
        match self {
            Self::List(client)
            | Self::Show { client, .. }
            | Self::Drain { client, .. }
            | Self::Undrain { client, .. } => client,
        }
    }
}

/// How a command talks to a manager, and prints.
#[derive(Clone, Debug, Default, Args, Serialize)]
pub(crate) struct ClientFlags {
    /// The manager's URL [default: http://127.0.0.1:8070].
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// How to print: table or json.
    #[arg(long, short = 'o', global = true, value_name = "FORMAT")]
    pub(crate) output: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct JobArgs {
    #[command(flatten)]
    pub(crate) client: ClientFlags,
    #[command(subcommand)]
    pub(crate) command: JobCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// Create or replace jobs: one, a list, or one a line; JSON or YAML.
    Save {
        /// The files; - is standard input.
        #[arg(value_name = "FILE|-", required = true)]
        files: Vec<PathBuf>,
        /// Also over jobs that were changed since `job show` wrote the file.
        #[arg(long)]
        force: bool,
    },
    /// List all jobs.
    List,
    /// Show one job.
    Show {
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Run a job now.
    Run {
        #[arg(value_name = "NAME")]
        name: String,
        /// Follow its output, and fail if it does.
        #[arg(long, short)]
        follow: bool,
    },
    /// Kill what runs of a job.
    Kill {
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Let a job's ticks pass until it is resumed.
    Pause {
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Go on with a paused job.
    Resume {
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Let a job's ticks count from now when a clock in the future has claimed some that are yet to come.
    ResetFence {
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Delete a job; its history stays.
    Delete {
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// List a job's latest runs.
    Log {
        #[arg(value_name = "NAME")]
        name: String,
        /// How many.
        #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
        limit: u32,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) client: ClientFlags,
    #[command(subcommand)]
    pub(crate) command: RunCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RunCommand {
    /// Run tasks: what is to run once, without a job.
    Submit {
        /// One task, a list, or one after the other; JSON or YAML; - is standard input.
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        /// Follow its output, and fail if it does. Of one task only.
        #[arg(long, short)]
        follow: bool,
    },
    /// List runs, newest first.
    List(RunFilter),
    /// Show one run with its attempts.
    Show {
        #[arg(value_name = "RUN")]
        run: String,
    },
    /// Print a run's output.
    Logs {
        #[arg(value_name = "RUN")]
        run: String,
        /// Go on while it runs.
        #[arg(long, short)]
        follow: bool,
    },
    /// Kill a run.
    Kill {
        #[arg(value_name = "RUN")]
        run: String,
    },
}

/// Which runs.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct RunFilter {
    /// Of this job.
    #[arg(long, value_name = "NAME")]
    pub(crate) job: Option<String>,
    /// Of tasks of this name.
    #[arg(long, value_name = "NAME", conflicts_with = "job")]
    pub(crate) task: Option<String>,
    /// In this state, such as failed.
    #[arg(long, value_name = "STATE")]
    pub(crate) state: Option<String>,
    /// Of this worker.
    #[arg(long, value_name = "ID")]
    pub(crate) worker: Option<String>,
    /// From this instant on (RFC 3339).
    #[arg(long, value_name = "INSTANT")]
    pub(crate) from: Option<String>,
    /// Up to this instant.
    #[arg(long, value_name = "INSTANT")]
    pub(crate) to: Option<String>,
    /// How many.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: u32,
}

#[derive(Debug, Args, Serialize)]
pub(crate) struct NextArgs {
    /// A cron expression in quotes, such as "30 9 * * MON-FRI"; several are a list.
    #[arg(required = true, value_name = "EXPRESSION")]
    #[serde(skip)]
    pub(crate) expressions: Vec<String>,
    /// Its time zone [default: the machine's].
    #[arg(long, value_name = "ZONE")]
    pub(crate) zone: Option<String>,
    /// Instants after this one (RFC 3339) [default: now].
    #[arg(long, value_name = "INSTANT")]
    #[serde(skip)]
    pub(crate) from: Option<String>,
    /// How many instants, at most 1000.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 6,
        value_parser = clap::value_parser!(u16).range(1..=1000))]
    #[serde(skip)]
    pub(crate) count: u16,
    /// How to print: table or json.
    #[arg(long, short = 'o', value_name = "FORMAT")]
    pub(crate) output: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    #[command(subcommand)]
    pub(crate) what: ImportWhat,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImportWhat {
    /// Take over crontabs, and say of every line what became of it.
    Crontab(ImportCrontab),
}

#[derive(Debug, Args, Serialize)]
pub(crate) struct ImportCrontab {
    /// The crontabs; - is standard input, as in `crontab -l | quorate import crontab -`.
    #[arg(required = true, value_name = "FILE|-")]
    #[serde(skip)]
    pub(crate) files: Vec<PathBuf>,
    /// They have a user column, as /etc/crontab and /etc/cron.d have (known by their path).
    #[arg(long, conflicts_with = "user")]
    #[serde(skip)]
    pub(crate) system: bool,
    /// They have no user column.
    #[arg(long)]
    #[serde(skip)]
    pub(crate) user: bool,
    /// Save nothing: show the jobs and the report.
    #[arg(long)]
    #[serde(skip)]
    pub(crate) dry_run: bool,
    /// Replace jobs of the same name that were not imported from the same file, and what was edited by hand since.
    #[arg(long)]
    #[serde(skip)]
    pub(crate) replace: bool,
    /// Delete the jobs that earlier imports of the same file made of lines that are no longer in it.
    #[arg(long)]
    #[serde(skip)]
    pub(crate) prune: bool,
    /// Put before every job's name, such as "web1 ".
    #[arg(long, value_name = "TEXT", default_value = "")]
    #[serde(skip)]
    pub(crate) prefix_name: String,
    /// The user that jobs without a user column run as [default: the worker's].
    #[arg(long, value_name = "NAME")]
    #[serde(skip)]
    pub(crate) run_as: Option<String>,
    /// A label that a worker must have to run them; can be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    #[serde(skip)]
    pub(crate) require: Vec<String>,
    /// Time zone of lines without CRON_TZ [default: the machine's].
    #[arg(long, value_name = "ZONE")]
    pub(crate) zone: Option<String>,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) client: ClientFlags,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The file; - is standard output.
    #[arg(value_name = "FILE|-")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) client: ClientFlags,
}

#[derive(Debug, Args)]
pub(crate) struct AdminArgs {
    #[command(subcommand)]
    pub(crate) command: AdminCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AdminCommand {
    /// After etcd was restored from a copy: let all ticks up to now count as decided, and the workers claim again.
    AfterRestore(AdminFlags),
}

/// How an admin command reaches the store, and prints.
#[derive(Clone, Debug, Default, Args, Serialize)]
pub(crate) struct AdminFlags {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) etcd: EtcdFlags,
    /// How to print: table or json.
    #[arg(long, short = 'o', value_name = "FORMAT")]
    pub(crate) output: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// How to print.
    #[arg(long, short = 'o', global = true, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: OutputFormat,
    #[command(subcommand)]
    pub(crate) role: Option<ConfigRole>,
}

/// Whose settings, with the flags that would be given to it.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigRole {
    /// Of `quorate dev`.
    Dev(DevFlags),
    /// Of `quorate manager`.
    Manager(ManagerFlags),
    /// Of `quorate worker`.
    Worker(WorkerFlags),
    /// Of `quorate admin`.
    Admin(EtcdFlags),
    /// Of the commands that talk to a manager.
    Client,
}

/// How a command prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}
