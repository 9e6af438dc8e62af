//! The commands: each reads its settings, builds what it needs and runs it.

// A process must not panic because nobody reads what it says: see `telemetry::say` and `Output`.
#![warn(clippy::print_stderr, clippy::print_stdout)]

use std::{future::Future, path::Path};

use anyhow::Context as _;
use serde::Serialize;

use crate::{
    cli::{AdminCommand, Cli, ClientFlags, Command, CommonFlags, ImportWhat},
    client::{Client, ClientError},
    config::{
        self, AdminSettings, ClientSettings, ConfigError, DevSettings, Environment, Inputs, LogSettings,
        Machine, ManagerSettings, Role, Values, WorkerSettings,
    },
    exit::{BadInput, Exit},
    output::Output,
    signal, telemetry,
};

mod admin;
mod config_show;
mod dev;
mod export;
pub(crate) mod guard;
mod import;
mod job;
mod job_file;
mod manager;
mod next;
mod run;
pub(crate) mod shim;
mod worker;
mod workers;

/// What every command is given.
pub(crate) struct Context {
    env: Environment,
    machine: Machine,
    common: CommonFlags,
}

/// Runs the command that was asked for.
pub(crate) fn run(cli: Cli) -> anyhow::Result<Exit> {
    let env: Environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let context = Context { machine: Machine::ask(&env), env, common: cli.common };
    match cli.command {
        Command::Dev(flags) => {
            let settings = context.settings(Role::Dev, &flags, DevSettings::read)?;
            serve(async |shutdown| dev::run(settings, shutdown).await)
        }
        Command::Manager(flags) => {
            let settings = context.settings(Role::Manager, &flags, ManagerSettings::read)?;
            serve(async |shutdown| manager::run(settings, shutdown).await)
        }
        Command::Worker(args) => match args.command {
            Some(command) => {
                let (client, output, _) = context.client(command.client())?;
                block_on(workers::run(command, client, output))
            }
            None => {
                let settings = context.settings(Role::Worker, &args.flags, WorkerSettings::read)?;
                serve(async |shutdown| worker::run(settings, shutdown).await)
            }
        },
        Command::Job(args) => {
            let (client, output, _) = context.client(&args.client)?;
            block_on(job::run(args.command, client, output))
        }
        Command::Run(args) => {
            let (client, output, _) = context.client(&args.client)?;
            block_on(run::run(args.command, client, output))
        }
        Command::Next(args) => next::run(&args, &context.client_settings(&args)?),
        Command::Import(args) => {
            let ImportWhat::Crontab(args) = args.what;
            let settings = context.client_settings(&args)?;
            let client = Client::new(&settings.server)?;
            block_on(import::run(args, settings, context.machine.host, client))
        }
        Command::Export(args) => {
            let (client, output, _) = context.client(&args.client)?;
            block_on(export::run(args.file, client, output))
        }
        Command::Admin(args) => {
            let AdminCommand::AfterRestore(flags) = args.command;
            let settings = context.settings(Role::Admin, &flags, AdminSettings::read)?;
            block_on(admin::after_restore(settings))
        }
        Command::Config(args) => config_show::run(&context, args),
    }
}

impl Context {
    /// Every setting of a role, with its layers.
    fn values(&self, role: Role, flags: &impl Serialize) -> anyhow::Result<Values> {
        let mut given = config::flags(flags)?;
        given.extend(config::flags(&self.common)?);
        let named = self.common.config.as_deref().or_else(|| self.env.get("QUORATE_CONFIG").map(Path::new));
        let file = config::read_file(named, role)?;
        let inputs =
            Inputs { role, flags: given, env: &self.env, file: file.as_ref(), machine: &self.machine };
        Ok(Values::merge(inputs)?)
    }

    /// A role's settings. What is wrong with them and with those for logging is said together; from here on the
    /// process logs.
    fn settings<T>(
        &self,
        role: Role,
        flags: &impl Serialize,
        read: fn(&Values) -> Result<T, ConfigError>,
    ) -> anyhow::Result<T> {
        let values = self.values(role, flags)?;
        let (settings, log) = match (read(&values), LogSettings::read(&values)) {
            (Ok(settings), Ok(log)) => (settings, log),
            (settings, log) => {
                let errors = settings.err().into_iter().chain(log.err());
                return Err(errors.fold(ConfigError::default(), ConfigError::and).into());
            }
        };
        telemetry::start(&log, role)?;
        for warning in &values.warnings {
            tracing::warn!("{warning}");
        }
        Ok(settings)
    }

    fn client_settings(&self, flags: &impl Serialize) -> anyhow::Result<ClientSettings> {
        self.settings(Role::Client, flags, ClientSettings::read)
    }

    fn client(&self, flags: &ClientFlags) -> anyhow::Result<(Client, Output, ClientSettings)> {
        let settings = self.client_settings(flags)?;
        Ok((Client::new(&settings.server)?, Output::new(settings.output), settings))
    }
}

/// Runs a server until it ends or is told to.
fn serve<F>(run: impl FnOnce(tokio_util::sync::CancellationToken) -> F) -> anyhow::Result<Exit>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(async {
        let shutdown = signal::shutdown_token().context("listen for signals")?;
        Box::pin(run(shutdown)).await.map(|()| Exit::Done)
    })
}

/// Runs a client command: one thread is enough to wait for answers.
fn block_on(command: impl Future<Output = anyhow::Result<Exit>>) -> anyhow::Result<Exit> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(Box::pin(command))
}

/// A request's failure as the command's: bad input where the manager says that it is.
fn failed(error: ClientError) -> anyhow::Error {
    if error.is_bad_input() { BadInput(error.to_string()).into() } else { error.into() }
}
