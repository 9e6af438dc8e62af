//! Which ranges to ask for to read on behind a key. etcd walks a range to its end to count it, whatever the limit:
//! pages that all reach to the end of the prefix make a listing quadratic (a million keys: a minute). So the rest
//! of the prefix is split into closed ranges that grow slowly: first what begins like the key itself, then its
//! siblings with the same beginning less one byte, and so on. A page then counts a small multiple of what it reads.

use crate::store::{Key, Prefix};

/// How many values of a byte a range spans, one after the other; then all the rest.
const WIDTHS: [u8; 2] = [1, 12];

/// The bounds of ranges which together are all of `prefix` behind `after`, in order: each two neighbours are a
/// range, the first included, the second not.
pub(super) fn bounds_behind(prefix: &Prefix, after: &Key) -> Vec<Vec<u8>> {
    let after = after.as_bytes();
    let root = prefix.as_bytes().len();
    let mut bounds = vec![just_behind(after)];
    for length in (root + 1..=after.len()).rev() {
        let (parent, byte) = (&after[..length - 1], after[length - 1]);
        // First the end of what begins with `after[..length]`, then of some of its siblings. The last ones are
        // covered by the next, shorter length. Text never has the byte 255.
        let mut next = byte.saturating_add(1);
        bounds.push(with_last(parent, next));
        for width in WIDTHS {
            let Some(to) = next.checked_add(width) else { break };
            next = to;
            bounds.push(with_last(parent, next));
        }
    }
    bounds.push(prefix.end());
    bounds
}

/// The first key behind this one.
pub(super) fn just_behind(key: &[u8]) -> Vec<u8> {
    with_last(key, 0)
}

fn with_last(parent: &[u8], byte: u8) -> Vec<u8> {
    let mut bound = Vec::with_capacity(parent.len() + 1);
    bound.extend_from_slice(parent);
    bound.push(byte);
    bound
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::key::Keys;

    proptest! {
        #[test]
        fn ranges_join_up_and_cover_all_behind_the_key(name in "\\PC{0,12}") {
            let jobs = Keys::new("/quorate/").unwrap().jobs;
            let after = jobs.key(&name);
            let bounds = bounds_behind(&jobs, &after);
            prop_assert_eq!(&bounds[0][..after.as_bytes().len()], after.as_bytes());
            prop_assert_eq!(bounds.last().unwrap(), &jobs.end());
            prop_assert!(bounds.is_sorted_by(|a, b| a < b), "{:?}", bounds);
        }
    }

    #[test]
    fn ranges_grow_from_the_key_outwards() {
        let jobs = Keys::new("/").unwrap().jobs;
        let bounds = bounds_behind(&jobs, &jobs.key("a1"));
        let text: Vec<_> = bounds.iter().map(|bound| String::from_utf8_lossy(bound).into_owned()).collect();
        let expected =
            ["/jobs/a1\0", "/jobs/a2", "/jobs/a3", "/jobs/a?", "/jobs/b", "/jobs/c", "/jobs/o", "/jobs0"];
        assert_eq!(text, expected);
    }
}
