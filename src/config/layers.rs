//! The layers, one on top of the other: default, file, environment, flags.

use config::{Config, Map, Source, Value};
use serde::Serialize;

use super::{
    ConfigError, ConfigFile, Environment, Machine, file,
    key::{self, Role, SETTINGS, Setting, Shape},
};

/// All that settings are made of.
pub(crate) struct Inputs<'a> {
    pub(crate) role: Role,
    pub(crate) flags: Vec<(&'static str, Vec<String>)>,
    pub(crate) env: &'a Environment,
    pub(crate) file: Option<&'a ConfigFile>,
    pub(crate) machine: &'a Machine,
}

/// A setting's value, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) setting: &'static str,
    /// Empty: not set.
    pub(crate) texts: Vec<String>,
    /// In words: `flag --listen`, `environment QUORATE_LISTEN`, `file quorate.toml`, `default`.
    pub(crate) origin: String,
    /// False: it is a default.
    pub(crate) asked: bool,
}

/// Every setting of one role.
#[derive(Debug)]
pub(crate) struct Values {
    pub(crate) role: Role,
    pub(crate) given: Vec<Given>,
    /// What a person should know although it goes on.
    pub(crate) warnings: Vec<String>,
    /// What was wrong with the file.
    pub(super) problems: Vec<String>,
}

/// Variables that commands find in their environment: a job may well call this program.
const OF_RUNS: [&str; 7] = ["JOB", "RUN", "TICK", "ATTEMPT", "FENCE", "WORKER", "SESSION"];

#[derive(Clone, Debug)]
struct Layer(Map<String, Value>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.clone())
    }
}

/// Flags as the command line's types hold them, by key.
pub(crate) fn flags(parsed: &impl Serialize) -> Result<Vec<(&'static str, Vec<String>)>, serde_json::Error> {
    let fields = serde_json::to_value(parsed)?;
    let given = |setting: &Setting| match fields.get(setting.key)? {
        serde_json::Value::String(text) => Some(vec![text.clone()]),
        serde_json::Value::Array(items) if !items.is_empty() => {
            Some(items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect())
        }
        _ => None,
    };
    Ok(SETTINGS.iter().filter_map(|setting| Some((setting.key, given(setting)?))).collect())
}

impl Values {
    /// Puts the layers on each other. What is wrong with the file is kept, for the settings to say with the rest.
    pub(crate) fn merge(inputs: Inputs<'_>) -> Result<Self, ConfigError> {
        let Inputs { role, flags, env, file, machine } = inputs;
        let of_role = || SETTINGS.iter().filter(|setting| setting.roles.contains(&role));
        let entry = |setting: &Setting, origin: String, texts: Vec<String>| {
            let texts: Vec<Value> = texts.into_iter().map(Value::from).collect();
            (setting.key.to_owned(), Value::new(Some(&origin), texts))
        };
        let defaults = of_role().filter_map(|setting| {
            Some(entry(setting, "default".to_owned(), vec![setting.default(role, machine)?]))
        });
        let file = file.map(|file| file::parse(file, role)).unwrap_or_default();
        let environment = of_role().filter_map(|setting| {
            let text = env.get(&setting.variable()).filter(|text| !text.is_empty())?;
            Some(entry(setting, format!("environment {}", setting.variable()), split(setting, text)))
        });
        let flags = flags.into_iter().filter_map(|(key, texts)| {
            let setting = key::find(key).filter(|setting| setting.roles.contains(&role))?;
            Some(entry(setting, format!("flag {}", setting.flag()), texts))
        });
        let mut builder = Config::builder().add_source(Layer(defaults.collect()));
        for layer in file.layers {
            builder = builder.add_source(Layer(layer));
        }
        let merged = builder
            .add_source(Layer(environment.collect()))
            .add_source(Layer(flags.collect()))
            .build()
            .and_then(|config| config.cache.into_table())
            .map_err(|error| ConfigError { problems: vec![error.to_string()] })?;
        let given = of_role().map(|setting| given(setting, merged.get(setting.key))).collect();
        let mut warnings = file.warnings;
        warnings.extend(unknown_variables(env));
        Ok(Self { role, given, warnings, problems: file.problems })
    }

    pub(super) fn get(&self, key: &str) -> Option<&Given> {
        self.given.iter().find(|given| given.setting == key)
    }
}

fn given(setting: &Setting, value: Option<&Value>) -> Given {
    let origin = value.and_then(Value::origin).unwrap_or("default").to_owned();
    let texts = value.and_then(|value| value.clone().into_array().ok()).unwrap_or_default();
    let texts: Vec<String> = texts.into_iter().filter_map(|text| text.into_string().ok()).collect();
    let texts = match texts.as_slice() {
        [one] => split(setting, one),
        _ => texts,
    };
    let asked = origin != "default";
    Given { setting: setting.key, texts, origin, asked }
}

/// One text as the setting's texts.
fn split(setting: &Setting, text: &str) -> Vec<String> {
    match setting.shape {
        Shape::One => vec![text.to_owned()],
        Shape::Many => {
            text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
        }
    }
}

/// Variables that are nearly ours: a typing error would otherwise go unseen.
fn unknown_variables(env: &Environment) -> Vec<String> {
    env.keys()
        .filter_map(|variable| {
            let name = variable.strip_prefix("QUORATE_")?;
            let key = name.to_ascii_lowercase();
            if key::find(&key).is_some() || key == "config" || OF_RUNS.contains(&name) {
                return None;
            }
            let nearest = key::nearest(&key, SETTINGS.iter().map(|setting| setting.key))?;
            let meant = key::find(nearest)?.variable();
            Some(format!("{variable} in the environment is not a setting; did you mean {meant}?"))
        })
        .collect()
}
