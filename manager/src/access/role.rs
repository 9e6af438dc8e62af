//! What somebody may do.

/// Who may use a route. Each may all that those before it may. For now it is recorded, and not enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Anybody, unasked for a name.
    Public,
    /// Who may look.
    Reader,
    /// Who may define, start and end what runs.
    Operator,
    /// Who may also put right what must not be done by mistake.
    Admin,
}
