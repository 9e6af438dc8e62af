//! What the targets share: a second, simple reading of cron's fields, and a manager to send requests to.

pub mod served;
pub mod slow;
