//! What etcd refuses before it looks at any key: too many operations, too many bytes, keys that clash. Both
//! branches are looked at, whichever will be taken.

use std::collections::HashSet;

use crate::store::{Compare, Key, Op, Txn};

/// etcd's `--max-txn-ops`. Each level has what the ones around it leave.
const MAX_OPS: usize = 128;

/// etcd's `--max-request-bytes`.
const MAX_BYTES: usize = 1_572_864;

/// Why a transaction can never be done.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    #[error(
        "too many operations in one transaction: {0} in one list; at most {MAX_OPS} are allowed, less those of the \
         transactions around it"
    )]
    TooManyOps(usize),
    #[error("the transaction is too large: {0} bytes; the limit is {MAX_BYTES}")]
    TooLarge(usize),
    #[error("a key is empty; use, for example, \"/quorate/jobs/backup\"")]
    EmptyKey,
    #[error("key {0} is written twice in one transaction; split the transaction")]
    EqualKeys(Key),
}

pub(super) fn check(txn: &Txn) -> Result<(), Problem> {
    check_size(txn, MAX_OPS)?;
    let bytes = bytes_of(txn);
    if bytes > MAX_BYTES {
        return Err(Problem::TooLarge(bytes));
    }
    written(&txn.then)?;
    written(&txn.otherwise)?;
    Ok(())
}

fn check_size(txn: &Txn, allowed: usize) -> Result<(), Problem> {
    let longest = txn.compares.len().max(txn.then.len()).max(txn.otherwise.len());
    if longest > allowed {
        return Err(Problem::TooManyOps(longest));
    }
    let empty = |key: &Key| key.as_bytes().is_empty();
    if txn.compares.iter().any(|compare| empty(compare.key())) {
        return Err(Problem::EmptyKey);
    }
    for op in txn.then.iter().chain(&txn.otherwise) {
        match op {
            Op::Txn(inner) => check_size(inner, allowed - longest)?,
            Op::Put(key, ..) | Op::Delete(key) | Op::Get(key) if empty(key) => return Err(Problem::EmptyKey),
            Op::Put(..) | Op::Delete(_) | Op::Get(_) => {}
        }
    }
    Ok(())
}

fn bytes_of(txn: &Txn) -> usize {
    let compares = txn.compares.iter().map(|compare| match compare {
        Compare::ValueGreater(key, value) | Compare::ValueLess(key, value) => {
            key.as_bytes().len() + value.len()
        }
        other => other.key().as_bytes().len(),
    });
    let ops = txn.then.iter().chain(&txn.otherwise).map(|op| match op {
        Op::Put(key, value, _) => key.as_bytes().len() + value.len(),
        Op::Delete(key) | Op::Get(key) => key.as_bytes().len(),
        Op::Txn(inner) => bytes_of(inner),
    });
    compares.chain(ops).sum()
}

/// The keys that some operations write.
#[derive(Default)]
struct Written<'a> {
    put: HashSet<&'a Key>,
    deleted: HashSet<&'a Key>,
}

impl<'a> Written<'a> {
    /// Adds what is done beside the rest. Deleting twice is harmless, all else on one key is not.
    fn add(&mut self, beside: Written<'a>) -> Result<(), Problem> {
        let clash = beside.put.iter().find(|key| self.put.contains(**key) || self.deleted.contains(**key));
        let clash = clash.or_else(|| beside.deleted.iter().find(|key| self.put.contains(**key)));
        if let Some(key) = clash {
            return Err(Problem::EqualKeys((*key).clone()));
        }
        self.either(beside);
        Ok(())
    }

    /// Adds what is done instead of the rest.
    fn either(&mut self, instead: Written<'a>) {
        self.put.extend(instead.put);
        self.deleted.extend(instead.deleted);
    }
}

fn written(ops: &[Op]) -> Result<Written<'_>, Problem> {
    let mut all = Written::default();
    for op in ops {
        let mut one = Written::default();
        match op {
            Op::Put(key, ..) => one.put.extend([key]),
            Op::Delete(key) => one.deleted.extend([key]),
            Op::Get(_) => {}
            Op::Txn(inner) => {
                one = written(&inner.then)?;
                one.either(written(&inner.otherwise)?);
            }
        }
        all.add(one)?;
    }
    Ok(all)
}
