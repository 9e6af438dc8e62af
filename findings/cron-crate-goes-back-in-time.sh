#!/usr/bin/env bash
# The crate cron 0.17.0 with chrono-tz 0.10.4: in the night when clocks go back, `Schedule::after` in a zone does not
# yield growing instants. `0 */30 * * * *` in New York on 2026-11-01 gives the first and the second 1:00 before it
# gives 1:30, so that an instant follows a later one; whoever keeps "the last one that fired" and takes what comes
# after it skips or repeats runs. Feed it plain civil time (or UTC) and map to instants yourself.
#
# Seen, in UTC: 04:30 05:00 06:00 05:30 06:30 07:00.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/src"
cat >"$work/Cargo.toml" <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
chrono = { version = "=0.4.42", default-features = false, features = ["std"] }
chrono-tz = "=0.10.4"
cron = "=0.17.0"

[workspace]
TOML
cat >"$work/src/main.rs" <<'RUST'
use std::str::FromStr;

use chrono::{TimeZone, Utc};

fn main() {
    let schedule = cron::Schedule::from_str("0 */30 * * * *").unwrap();
    let from = chrono_tz::America::New_York.with_ymd_and_hms(2026, 11, 1, 0, 15, 0).unwrap();
    let times: Vec<_> = schedule.after(&from).take(6).map(|at| at.with_timezone(&Utc).format("%H:%M").to_string()).collect();
    println!("{}", times.join(" "));
}
RUST
seen=$(cd "$work" && CARGO_TARGET_DIR="$work/target" cargo run --quiet)
echo "cron 0.17.0, in UTC: $seen"
[ "$seen" = "04:30 05:00 06:00 05:30 06:30 07:00" ]
