//! What is wrong with an expression, as a person needs to read it: which one, which field, what stands
//! there, what may stand there, and one that works.

use std::fmt;

use super::field::Field;

/// Longer texts are cut in messages: they come from anywhere.
const SHOWN_CHARS: usize = 80;

/// An expression that cannot be a schedule: show it to the author and ask again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ScheduleError(Box<Details>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Details {
    index: usize,
    of: usize,
    expression: String,
    fault: Fault,
}

/// The part of an error that is known where it is found, without the expression around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) field: Option<Field>,
    pub(super) got: String,
    /// A predicate: "is not a number", "has 4 fields".
    pub(super) problem: String,
    pub(super) allowed: &'static str,
    pub(super) example: &'static str,
}

impl Fault {
    pub(super) fn in_field(field: Field, got: &str, problem: impl Into<String>) -> Fault {
        Fault {
            field: Some(field),
            got: shorten(got),
            problem: problem.into(),
            allowed: field.allowed(),
            example: field.example(),
        }
    }

    /// A fault of the expression as a whole.
    pub(super) fn of_whole(got: &str, problem: impl Into<String>) -> Fault {
        Fault {
            field: None,
            got: shorten(got),
            problem: problem.into(),
            allowed: "5 fields (minute hour day month weekday), 6 (a year after them), 7 (a second \
                      before them as well), @yearly, @monthly, @weekly, @daily, @hourly, @every \
                      DURATION and @reboot",
            example: "30 9 * * MON-FRI",
        }
    }

    pub(super) fn of_period(got: &str, problem: impl Into<String>) -> Fault {
        Fault {
            field: None,
            got: shorten(got),
            problem: problem.into(),
            allowed: "a span of whole seconds, at least one, such as 90s, 15m or 1h30m",
            example: "@every 90s",
        }
    }
}

impl ScheduleError {
    pub(super) fn new(index: usize, of: usize, expression: &str, fault: Fault) -> ScheduleError {
        ScheduleError(Box::new(Details { index, of, expression: shorten(expression), fault }))
    }

    /// Which expression of the list, from 0.
    pub fn index(&self) -> usize {
        self.0.index
    }

    /// The expression as it was given, cut when very long.
    pub fn expression(&self) -> &str {
        &self.0.expression
    }

    /// The field at fault by its name ("day of month"); none when the expression as a whole is.
    pub fn field(&self) -> Option<&'static str> {
        self.0.fault.field.map(Field::name)
    }

    /// The piece of text at fault.
    pub fn got(&self) -> &str {
        &self.0.fault.got
    }

    /// What is wrong with it.
    pub fn problem(&self) -> &str {
        &self.0.fault.problem
    }

    /// What may stand there.
    pub fn allowed(&self) -> &'static str {
        self.0.fault.allowed
    }

    /// Something that would be right there.
    pub fn example(&self) -> &'static str {
        self.0.fault.example
    }
}

impl fmt::Display for Details {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { field, got, problem, allowed, example } = &self.fault;
        if self.of > 1 {
            write!(f, "expression {}: ", self.index + 1)?;
        }
        match field {
            Some(field) => write!(f, "{} {got:?} in {:?} {problem}", field.name(), self.expression)?,
            None => write!(f, "{:?} {problem}", self.expression)?,
        }
        write!(f, "; allowed: {allowed}, for example {example}")
    }
}

pub(super) fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
