//! Listings: their order, their pages, their revision.

use super::*;
use crate::store::{Page, list_all};

async fn page(
    store: &Arc<dyn Store>,
    prefix: &Prefix,
    after: Option<&Key>,
    limit: usize,
    at: Option<Revision>,
) -> Page {
    store.list(prefix, after, limit, at).await.expect("the page is listed")
}

async fn fill(store: &Arc<dyn Store>, prefix: &Prefix, count: usize) -> Revision {
    let puts = (0..count).map(|n| put(&prefix.key(format_args!("{n:03}")), n.to_string()));
    done(store, always(puts.collect())).await.revision
}

fn names(prefix: &Prefix, entries: &[Entry]) -> Vec<String> {
    entries.iter().filter_map(|entry| prefix.name(&entry.key)).map(str::to_owned).collect()
}

/// Pages begin behind a key, also behind one that is gone or never was.
pub async fn a_listing_is_in_the_order_of_the_keys_and_comes_in_pages(store: Arc<dyn Store>, keys: Keys) {
    let jobs = &keys.jobs;
    let revision = fill(&store, jobs, 25).await;
    let first = page(&store, jobs, None, 10, None).await;
    assert_eq!(names(jobs, &first.entries), (0..10).map(|n| format!("{n:03}")).collect::<Vec<_>>());
    assert!(first.more && first.revision >= revision);
    let second = page(&store, jobs, Some(&jobs.key("009")), 10, Some(first.revision)).await;
    assert_eq!(names(jobs, &second.entries).first().map(String::as_str), Some("010"));
    assert!(second.more);
    let third = page(&store, jobs, Some(&jobs.key("019")), 10, None).await;
    assert_eq!(third.entries.len(), 5);
    assert!(!third.more);
    let exact = page(&store, jobs, Some(&jobs.key("014")), 10, None).await;
    assert_eq!((exact.entries.len(), exact.more), (10, false));
    let between = page(&store, jobs, Some(&jobs.key("009x")), 1, None).await;
    assert_eq!(names(jobs, &between.entries), ["010"]);
    let behind = page(&store, jobs, Some(&jobs.key("zzz")), 10, None).await;
    assert_eq!((behind.entries.len(), behind.more), (0, false));
    let (all, _) = list_all(&*store, jobs).await.expect("all is listed");
    assert_eq!(all.len(), 25);
    assert_eq!(all[7].value[..], b"7"[..]);
    assert!(all.iter().all(|entry| entry.mod_revision == revision && entry.create_revision == revision));
}

/// Whatever happens between two pages, together they show one state.
pub async fn a_page_at_a_revision_shows_that_revision(store: Arc<dyn Store>, keys: Keys) {
    let jobs = &keys.jobs;
    let revision = fill(&store, jobs, 6).await;
    let first = page(&store, jobs, None, 3, None).await;
    done(
        &store,
        always(vec![
            put(&jobs.key("004"), "changed"),
            Op::Delete(jobs.key("005")),
            put(&jobs.key("006"), "new"),
        ]),
    )
    .await;
    write(&store, &jobs.key("003"), "changed").await;
    write(&store, &jobs.key("004"), "changed again").await;
    write(&store, &jobs.key("005"), "another").await;
    let rest = page(&store, jobs, Some(&jobs.key("002")), 10, Some(first.revision)).await;
    assert_eq!(names(jobs, &rest.entries), ["003", "004", "005"]);
    let values: Vec<_> = rest.entries.iter().map(|entry| entry.value.to_vec()).collect();
    assert_eq!(values, [b"3", b"4", b"5"]);
    assert!(rest.entries.iter().all(|entry| entry.mod_revision == revision), "{:?}", rest.entries);
    let now = page(&store, jobs, Some(&jobs.key("002")), 10, None).await;
    assert_eq!(names(jobs, &now.entries), ["003", "004", "005", "006"]);
    assert!(now.revision > first.revision);
}

/// Names of jobs are anything that people write.
pub async fn unicode_keys_are_kept_and_sorted_bytewise(store: Arc<dyn Store>, keys: Keys) {
    let in_order = ["Zeit", "a b", "a'b\"$.c", "z", "ä", "データ", "😀"];
    let mut shuffled: Vec<_> = in_order.iter().map(|name| put(&keys.jobs.key(name), name)).collect();
    shuffled.reverse();
    done(&store, always(shuffled)).await;
    let all = page(&store, &keys.jobs, None, 100, None).await;
    assert_eq!(names(&keys.jobs, &all.entries), in_order);
    for name in in_order {
        let entry = read(&store, &keys.jobs.key(name)).await.expect("it is found by its name");
        assert_eq!(&*entry.value, name.as_bytes());
    }
}

/// `jobs/` is not `jobs0`, and not what lies in front of it.
pub async fn a_listing_stays_within_its_prefix(store: Arc<dyn Store>, keys: Keys) {
    let outside =
        [keys.root.key("jobs"), keys.root.key("jobs0"), keys.root.key("jobs."), keys.locks.key("x")];
    done(&store, always(outside.iter().map(|key| put(key, "x")).collect())).await;
    assert_eq!(page(&store, &keys.jobs, None, 100, None).await.entries, []);
    write(&store, &keys.jobs.key("in"), "x").await;
    let all = page(&store, &keys.jobs, None, 100, None).await;
    assert_eq!(names(&keys.jobs, &all.entries), ["in"]);
}
