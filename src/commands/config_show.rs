//! `quorate config`: every setting, its value, and where it came from.

use serde::Serialize;
use serde_json::{Map, Value};

use super::Context;
use crate::{
    cli::{ConfigArgs, ConfigRole},
    config::{
        AdminSettings, ClientSettings, ConfigError, DevSettings, Given, LogSettings, ManagerSettings, Role,
        Values, WorkerSettings,
    },
    exit::Exit,
    output::{Output, Table},
    telemetry,
};

pub(super) fn run(context: &Context, args: ConfigArgs) -> anyhow::Result<Exit> {
    let (shown, is_asked) = match args.role {
        Some(ConfigRole::Dev(flags)) => (vec![context.values(Role::Dev, &flags)?], true),
        Some(ConfigRole::Manager(flags)) => (vec![context.values(Role::Manager, &flags)?], true),
        Some(ConfigRole::Worker(flags)) => (vec![context.values(Role::Worker, &flags)?], true),
        Some(ConfigRole::Admin(flags)) => (vec![context.values(Role::Admin, &flags)?], true),
        Some(ConfigRole::Client) => (vec![context.values(Role::Client, &NoFlags {})?], true),
        None => {
            let all = Role::ALL.iter().map(|role| context.values(*role, &NoFlags {}));
            (all.collect::<anyhow::Result<Vec<_>>>()?, false)
        }
    };
    let mut output = Output::new(args.output);
    if output.is_json() {
        let roles: Map<String, Value> =
            shown.iter().map(|values| (values.role.to_string(), json(values))).collect();
        output.json(&roles)?;
    } else {
        for values in &shown {
            print(values, &mut output)?;
        }
    }
    output.flush()?;
    for warning in shown.first().iter().flat_map(|values| &values.warnings) {
        telemetry::say(format_args!("warning: {warning}"));
    }
    let mut exit = Exit::Done;
    for values in &shown {
        for problem in check(values).problems {
            // Asked for no role, nobody says that all of them are to be started here.
            let is_missing = problem.contains("has to be given");
            if is_asked || !is_missing {
                telemetry::say(format_args!("error: {}: {problem}", values.role));
                exit = Exit::BadInput;
            }
        }
    }
    Ok(exit)
}

#[derive(Serialize)]
struct NoFlags {}

fn check(values: &Values) -> ConfigError {
    let settings = match values.role {
        Role::Dev => DevSettings::read(values).map(drop),
        Role::Manager => ManagerSettings::read(values).map(drop),
        Role::Worker => WorkerSettings::read(values).map(drop),
        Role::Admin => AdminSettings::read(values).map(drop),
        Role::Client => ClientSettings::read(values).map(drop),
    };
    let errors = settings.err().into_iter().chain(LogSettings::read(values).err());
    errors.fold(ConfigError::default(), ConfigError::and)
}

fn json(values: &Values) -> Value {
    let field = |given: &Given| {
        (given.setting.to_owned(), serde_json::json!({"value": shown(given), "origin": given.origin}))
    };
    Value::Object(values.given.iter().map(field).collect())
}

fn print(values: &Values, output: &mut Output) -> anyhow::Result<()> {
    output.line(format_args!("[{}]", values.role))?;
    let mut table = Table::whole(&["KEY", "VALUE", "FROM"]);
    for given in &values.given {
        table.row([given.setting.to_owned(), shown(given), given.origin.clone()]);
    }
    output.table(&table, "no settings")?;
    output.line("")
}

/// A value without what others must not read.
fn shown(given: &Given) -> String {
    let text = given.texts.join(",");
    match given.setting {
        "mongodb" => without_password(&text),
        "auth" if !given.asked => "on: this machine only".to_owned(),
        _ => text,
    }
}

/// `mongodb://joe:***@db1/…`: up to the last `@` before the path, since passwords hold what they like.
fn without_password(uri: &str) -> String {
    let Some((scheme, rest)) = uri.split_once("://") else { return uri.to_owned() };
    let Some((login, hosts)) = rest.rsplit_once('@') else { return uri.to_owned() };
    let user = login.split(':').next().unwrap_or_default();
    format!("{scheme}://{user}:***@{hosts}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        for (uri, shown) in [
            ("mongodb://joe:s3cr3t@db1,db2/quorate", "mongodb://joe:***@db1,db2/quorate"),
            ("mongodb://joe:s@3@db1", "mongodb://joe:***@db1"),
            ("mongodb://db1", "mongodb://db1"),
        ] {
            assert_eq!(without_password(uri), shown);
        }
    }
}
