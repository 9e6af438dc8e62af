//! A run that does nothing, for tests and for load.

use serde::{Deserialize, Serialize};

use super::FieldError;
use crate::span::Span;

/// Does nothing for a while, and ends as it is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object, which may be empty")]
pub struct Noop {
    /// How long it lasts; none: no time at all.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<Span>,
    /// Its exit code.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub exit: i32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_zero(code: &i32) -> bool {
    *code == 0
}

impl Noop {
    /// In one line.
    pub(super) fn text(self) -> String {
        let lasts = self.lasts.map(|span| format!(" for {span}")).unwrap_or_default();
        let exit = if self.exit == 0 { String::new() } else { format!(", then exit {}", self.exit) };
        format!("noop{lasts}{exit}")
    }

    pub(super) fn check(self, errors: &mut Vec<FieldError>) {
        if !(0..=255).contains(&self.exit) {
            errors.push(FieldError::new(
                "driver.noop.exit",
                self.exit,
                "is no exit code: those are 0 to 255",
                "1",
            ));
        }
    }
}
