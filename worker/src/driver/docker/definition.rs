//! A container as its engine is told to make it.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountType, PortBinding, PortMap,
    ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};
use common::job::{
    Docker, OnLeaseLoss,
    docker::{Source, Volume},
};
use nix::sys::resource::{Resource, getrlimit};

use super::{
    engine::{Client, Kind},
    labels,
};
use crate::driver::{RunSpec, StartError, process::environment};

/// Nanoseconds of processor time in a second, for each thousandth of a processor.
const NANOS_PER_MILLI: u64 = 1_000_000;

/// The container's name: nobody else's, and told by the run.
pub(super) fn name(spec: &RunSpec) -> String {
    format!("quorate-{}-{}", spec.run, spec.attempt)
}

/// What asks for more than the engine's machine has. An engine would refuse it in its own words, or, as podman does,
/// take it.
pub(super) fn check(docker: &Docker, client: &Client) -> Result<(), StartError> {
    let cores = client.cores.saturating_mul(1000);
    if let Some(cpu) = docker.cpu.filter(|cpu| cores > 0 && cpu.millis() > cores) {
        return Err(StartError::new(format!(
            "it asks for {cpu} processors and this worker's machine has {}",
            client.cores
        )));
    }
    if let Some(memory) = docker.memory.filter(|memory| client.memory > 0 && memory.0 > client.memory) {
        return Err(StartError::new(format!(
            "it asks for {memory} of memory and this worker's machine has {} MiB",
            client.memory >> 20
        )));
    }
    Ok(())
}

/// What the engine is told. `session` and `place` name this life of the worker.
pub(super) fn body(
    docker: &Docker,
    spec: &RunSpec,
    (session, place): (&str, &str),
    kind: Kind,
) -> ContainerCreateBody {
    let list = |words: &[String]| (!words.is_empty()).then(|| words.to_vec());
    ContainerCreateBody {
        image: Some(docker.image.to_string()),
        cmd: list(&docker.command),
        entrypoint: list(&docker.entrypoint),
        env: Some(variables(docker, spec, session)),
        working_dir: docker.dir.clone(),
        user: docker.user.clone(),
        labels: Some(labels::of(docker, spec, session, place)),
        stop_signal: docker.stop_signal.as_ref().map(ToString::to_string),
        // Without these Docker publishes nothing.
        exposed_ports: Some(docker.ports.iter().map(common::job::docker::Port::inside).collect()),
        host_config: Some(host_config(docker, kind)),
        ..ContainerCreateBody::default()
    }
}

fn variables(docker: &Docker, spec: &RunSpec, session: &str) -> Vec<String> {
    let of_job = environment::of_job(&docker.env).map(|(name, value)| format!("{name}={value}"));
    // The guard finds processes by their session. One that may outlive the trust in its worker must not be found so.
    let is_found = |name: &str| name != "QUORATE_SESSION" || spec.job.on_lease_loss == OnLeaseLoss::Kill;
    let of_run = environment::of_run(spec, session).filter(|(name, _)| is_found(name));
    of_job.chain(of_run.map(|(name, value)| format!("{name}={value}"))).collect()
}

fn host_config(docker: &Docker, kind: Kind) -> HostConfig {
    let memory = docker.memory.and_then(|memory| i64::try_from(memory.0).ok());
    HostConfig {
        network_mode: Some(docker.network.to_string()),
        port_bindings: Some(bindings(docker)),
        mounts: Some(docker.volumes.iter().map(mount).collect()),
        nano_cpus: docker.cpu.and_then(|cpu| i64::try_from(cpu.millis() * NANOS_PER_MILLI).ok()),
        memory,
        // Else it may swap as much again.
        memory_swap: memory,
        pids_limit: docker.pids.map(i64::from),
        ulimits: Some(ulimits(docker, kind)),
        init: docker.init.then_some(true),
        // Whether it runs again is its job's matter, and it goes when its end is known.
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        auto_remove: Some(false),
        // Read again when the engine was away. Others keep none, or none that can be read.
        log_config: Some(HostConfigLogConfig { typ: Some("json-file".to_owned()), config: None }),
        ..HostConfig::default()
    }
}

fn bindings(docker: &Docker) -> PortMap {
    let mut bindings = PortMap::new();
    for port in &docker.ports {
        let binding = PortBinding {
            host_ip: port.address.map(|address| address.to_string()),
            host_port: port.host.map(|port| port.to_string()),
        };
        bindings.entry(port.inside()).or_default().get_or_insert_default().push(binding);
    }
    bindings
}

fn mount(volume: &Volume) -> Mount {
    let (typ, source) = match volume.source() {
        Source::Path(path) => (MountType::BIND, path),
        Source::Volume(name) => (MountType::VOLUME, name),
    };
    Mount {
        typ: Some(typ),
        source: Some(source.clone()),
        target: Some(volume.target().to_owned()),
        read_only: Some(volume.is_read_only()),
        ..Mount::default()
    }
}

fn ulimits(docker: &Docker, kind: Kind) -> Vec<ResourcesUlimits> {
    let of_job = docker.ulimits.iter().map(|(name, limit)| (name.clone(), limit.soft, limit.hard));
    let mut limits: HashMap<String, (i64, i64)> =
        of_job.map(|(name, soft, hard)| (name, (soft, hard))).collect();
    if kind == Kind::Podman {
        // It asks for a million of each, and no container starts where the machine has fewer.
        for (name, resource) in [("nofile", Resource::RLIMIT_NOFILE), ("nproc", Resource::RLIMIT_NPROC)] {
            if let Some(most) = getrlimit(resource).ok().and_then(|(_, hard)| i64::try_from(hard).ok()) {
                limits.entry(name.to_owned()).or_insert((most.min(1 << 20), most.min(1 << 20)));
            }
        }
    }
    let limit =
        |(name, (soft, hard))| ResourcesUlimits { name: Some(name), soft: Some(soft), hard: Some(hard) };
    limits.into_iter().map(limit).collect()
}
