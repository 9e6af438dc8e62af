//! What a job requires of its worker's labels: `disk=ssd`, `zone!=eu-1`, `zone in (eu-1, eu-2)`, `zone not in (eu-1)`, `gpu`,
//! `!spot`. As in Kubernetes, "not" holds for a worker that has no such label at all.

use std::collections::BTreeMap;

/// One requirement, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Requirement<'a> {
    /// There is such a label, whatever its value.
    Has(&'a str),
    /// There is none.
    HasNot(&'a str),
    /// Its value is among these; one or, in parentheses, several.
    Among(&'a str, &'a str),
    /// It has another value, or there is none.
    NotAmong(&'a str, &'a str),
}

impl<'a> Requirement<'a> {
    /// Reads a requirement; none: it names no label, or no value.
    pub(super) fn read(text: &'a str) -> Option<Self> {
        let text = text.trim();
        let requirement = if let Some((label, list)) = listed(text, " not in ") {
            Self::NotAmong(label, list)
        } else if let Some((label, list)) = listed(text, " in ") {
            Self::Among(label, list)
        } else if let Some((label, value)) = text.split_once("!=").filter(|(label, _)| !label.contains('=')) {
            Self::NotAmong(label.trim_end(), value.trim_start())
        } else if let Some((label, value)) = text.split_once('=') {
            Self::Among(label.trim_end(), value.trim_start())
        } else if let Some(label) = text.strip_prefix('!') {
            Self::HasNot(label.trim_start())
        } else {
            Self::Has(text)
        };
        let label = requirement.label();
        (!label.is_empty() && !label.contains(['(', ')'])).then_some(requirement)
    }

    fn label(&self) -> &'a str {
        match self {
            Self::Has(label) | Self::HasNot(label) | Self::Among(label, _) | Self::NotAmong(label, _) => {
                label
            }
        }
    }

    /// True for a worker with these labels.
    pub(super) fn allows(&self, labels: &BTreeMap<String, String>) -> bool {
        let have = labels.get(self.label()).map(String::as_str);
        match self {
            Self::Has(_) => have.is_some(),
            Self::HasNot(_) => have.is_none(),
            Self::Among(_, values) => have.is_some_and(|have| is_among(values, have)),
            Self::NotAmong(_, values) => have.is_none_or(|have| !is_among(values, have)),
        }
    }
}

/// The label and what is in the parentheses behind the word, with them.
fn listed<'a>(text: &'a str, word: &str) -> Option<(&'a str, &'a str)> {
    let (label, list) = text.split_once(word)?;
    let list = list.trim();
    let is_list = list.starts_with('(') && list.ends_with(')') && list.len() > 2;
    (is_list && !label.contains(['=', '('])).then_some((label.trim(), list))
}

fn is_among(values: &str, have: &str) -> bool {
    match values.strip_prefix('(').and_then(|values| values.strip_suffix(')')) {
        Some(list) => list.split(',').any(|value| value.trim() == have),
        None => values == have,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> BTreeMap<String, String> {
        text.split_whitespace()
            .map(|label| {
                label.split_once('=').map_or((label.into(), String::new()), |(k, v)| (k.into(), v.into()))
            })
            .collect()
    }

    #[test]
    fn a_requirement_allows_whom_it_names() {
        for (text, of, allowed) in [
            ("gpu", "gpu", true),
            ("gpu", "gpu=a100", true),
            ("gpu", "disk=ssd", false),
            ("!spot", "disk=ssd", true),
            ("!spot", "spot=yes", false),
            ("disk=ssd", "disk=ssd", true),
            ("disk = ssd", "disk=ssd", true),
            ("disk=ssd", "disk=hdd", false),
            ("disk=ssd", "", false),
            ("disk!=ssd", "disk=hdd", true),
            ("disk!=ssd", "", true),
            ("disk!=ssd", "disk=ssd", false),
            ("zone in (eu-1, eu-2)", "zone=eu-2", true),
            ("zone in (eu-1,eu-2)", "zone=eu-3", false),
            ("zone in (eu-1)", "", false),
            ("zone not in (eu-1, eu-2)", "zone=eu-3", true),
            ("zone not in (eu-1, eu-2)", "", true),
            ("zone not in (eu-1, eu-2)", "zone=eu-1", false),
            // As it was before there were lists: a value may have any sign in it.
            ("note=a=b!=c", "note=a=b!=c", true),
        ] {
            let requirement = Requirement::read(text).unwrap();
            assert_eq!(requirement.allows(&labels(of)), allowed, "{text:?} of {of:?}: {requirement:?}");
        }
    }

    #[test]
    fn what_names_no_label_is_refused() {
        for text in ["", " ", "=ssd", "!=ssd", "!", " in (a)"] {
            assert_eq!(Requirement::read(text), None, "{text:?}");
        }
    }
}
