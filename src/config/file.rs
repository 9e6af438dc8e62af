//! A configuration file's text → texts by key, for one role. Keys stand at top level, for all roles, or in a section
//! named after a role, which wins. Unknown keys are problems. GDTS's JSON keys are translated.

use config::{File, FileFormat, Map, Source, Value, ValueKind};

use super::{
    ConfigFile,
    key::{self, Role, SETTINGS, Setting},
};

/// A file's settings for one role: the outer ones, then its section's.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) layers: Vec<Map<String, Value>>,
    pub(super) problems: Vec<String>,
    pub(super) warnings: Vec<String>,
}

pub(super) fn parse(file: &ConfigFile, role: Role) -> Parsed {
    let is_json = file.path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let format = if is_json { FileFormat::Json } else { FileFormat::Toml };
    let name = file.path.display().to_string();
    let mut parsed = Parsed::default();
    let mut fields = match File::from_str(&file.text, format).collect() {
        Ok(fields) => fields,
        Err(error) => {
            parsed.problems.push(format!("{name} is not {}: {error}", if is_json { "JSON" } else { "TOML" }));
            return parsed;
        }
    };
    if is_json {
        translate_gdts(&mut fields, role, &name, &mut parsed);
    }
    let mut outer = Map::new();
    let mut inner = Map::new();
    let mut keys: Vec<_> = fields.into_iter().collect();
    keys.sort_by(|(left, _), (right, _)| left.cmp(right));
    for (key, value) in keys {
        let section = Role::ALL.into_iter().find(|role| role.name() == key);
        match (section, value.kind) {
            (Some(section), ValueKind::Table(table)) => {
                let origin = format!("{name} [{section}]");
                let fields = read_table(table, Some(section), &origin, &mut parsed.problems);
                if section == role {
                    inner = fields;
                }
            }
            (_, kind) => {
                let one = Map::from_iter([(key, Value::new(None, kind))]);
                outer.extend(read_table(one, None, &name, &mut parsed.problems));
            }
        }
    }
    parsed.layers = vec![outer, inner];
    parsed
}

/// Known keys with their values as texts; what is wrong goes into `problems`.
fn read_table(
    table: Map<String, Value>,
    section: Option<Role>,
    origin: &str,
    problems: &mut Vec<String>,
) -> Map<String, Value> {
    let belongs = |setting: &Setting| section.is_none_or(|role| setting.roles.contains(&role));
    let mut keys: Vec<_> = table.into_iter().collect();
    keys.sort_by(|(left, _), (right, _)| left.cmp(right));
    let mut fields = Map::new();
    for (key, value) in keys {
        match key::find(&key).filter(|setting| belongs(setting)) {
            None => {
                let known = SETTINGS.iter().filter(|setting| belongs(setting)).map(|setting| setting.key);
                let sections = Role::ALL.into_iter().map(Role::name).filter(|_| section.is_none());
                let advice = match key::nearest(&key, known.chain(sections)) {
                    Some(nearest) => format!("did you mean {nearest}?"),
                    None => "`quorate config` lists the keys that there are".to_owned(),
                };
                problems.push(format!("{origin}: unknown key {key:?}; {advice}"));
            }
            Some(setting) => match texts(&value) {
                Some(texts) => {
                    let texts: Vec<Value> = texts.into_iter().map(Value::from).collect();
                    let origin = format!("file {origin}");
                    fields.insert(setting.key.to_owned(), Value::new(Some(&origin), texts));
                }
                None => problems.push(format!(
                    "{origin}: {key} is neither a text nor a number nor a list of them, such as {key} = \"…\""
                )),
            },
        }
    }
    fields
}

/// A value as texts; a table as `key=value`.
fn texts(value: &Value) -> Option<Vec<String>> {
    match &value.kind {
        ValueKind::Nil | ValueKind::Array(_) | ValueKind::Table(_) => {}
        _ => return value.clone().into_string().ok().map(|text| vec![text]),
    }
    let scalar = |value: &Value| {
        let is_scalar = !matches!(value.kind, ValueKind::Nil | ValueKind::Array(_) | ValueKind::Table(_));
        value.clone().into_string().ok().filter(|_| is_scalar)
    };
    match &value.kind {
        ValueKind::Array(items) => items.iter().map(scalar).collect(),
        ValueKind::Table(table) => {
            let mut pairs = table
                .iter()
                .map(|(key, value)| Some(format!("{key}={}", scalar(value)?)))
                .collect::<Option<Vec<_>>>()?;
            pairs.sort_unstable();
            Some(pairs)
        }
        _ => None,
    }
}

/// GDTS's keys become ours; those that have no meaning here are said to be left out.
fn translate_gdts(fields: &mut Map<String, Value>, role: Role, name: &str, parsed: &mut Parsed) {
    for (theirs, ours) in [("etcdEndpoints", "etcd"), ("mongodbUri", "mongodb"), ("bashPath", "shell")] {
        if let Some(value) = fields.remove(theirs)
            && fields.insert(ours.to_owned(), value).is_some()
        {
            parsed.problems.push(format!("{name}: {theirs} stands beside {ours}: give one of them"));
        }
    }
    if let Some(value) = fields.remove("apiPort") {
        match value.clone().into_string().ok().and_then(|text| text.parse::<u16>().ok()) {
            // GDTS's workers have no API; a port in their file means nothing.
            Some(_) if !matches!(role, Role::Dev | Role::Manager) => {}
            Some(port) => {
                let address = format!("127.0.0.1:{port}");
                parsed.warnings.push(format!(
                    "{name}: apiPort is taken as listen {address:?}: GDTS served every interface; to do that, give --listen \
                     0.0.0.0:{port} --auth off"
                ));
                fields.insert("listen".to_owned(), Value::from(address));
            }
            None => parsed.problems.push(format!("{name}: apiPort is not a port; use, for example, 8070")),
        }
    }
    for (key, why) in [
        ("etcdDialTimeout", "a server that is away is waited for"),
        ("mongodbConnectTimeout", "a server that is away is waited for"),
        ("jobLogBatchSize", "batches have the size that is due"),
        ("jobLogCommitTimeout", "run logs are kept on disk until they are sent"),
        ("webroot", "the page is inside the program"),
    ] {
        if fields.remove(key).is_some() {
            parsed.warnings.push(format!("{name}: {key} is not used: {why}"));
        }
    }
    // Such files carry remarks as keys of their own, in Chinese.
    fields.retain(|key, _| key.is_ascii());
}
