//! The integration tests: one binary, one module a promise to users, against real servers and a real browser.

mod calls;
mod cli;
mod cluster;
mod connections;
mod cron_beside;
mod crontab;
mod deploy;
mod first_process;
mod full_disk;
mod handles;
mod jobs;
mod restore;
mod runlog_mongo;
mod standard_error;
mod store_etcd;
mod support;
mod tasks;
mod ui;
