//! One followed place: what stands there by name, as it was last told. A kind of thing that is to be cached says here
//! what it is ([`Row`]), has a table in [`Content`], and is followed in `feed.rs`.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Deref,
};

use common::store::{Entry, Prefix, Revision, key::Keys};

use super::{Cache, Content, Place};
use crate::state::App;

/// What a table keeps of an entry.
pub(crate) trait Row: Sized + Send + Sync + 'static {
    /// Where it stands.
    const PLACE: Place;

    /// Where that is in the store.
    fn prefix(keys: &Keys) -> &Prefix;

    /// The table of these.
    fn table(content: &mut Content) -> &mut Table<Self>;

    /// Reads an entry; an error says why it is left out. What is worth showing although it does not decode is no error.
    fn read(name: &str, entry: &Entry) -> Result<Self, String>;

    /// True: it is one of the few that are looked for among many.
    fn is_marked(&self) -> bool {
        false
    }

    /// The place was listed anew.
    fn listed(_app: &App) {}

    /// This stands under a name since now; `None`: nothing does.
    fn heard(_app: &App, _name: &str, _row: Option<&Self>) {}
}

/// A row with its name; `None`: nothing stands there, or nothing that is understood.
pub(super) type Named<R> = (Box<str>, Option<R>);

/// What stands in a place.
pub(crate) struct Table<R> {
    rows: BTreeMap<Box<str>, R>,
    marked: BTreeSet<Box<str>>,
}

impl<R> Default for Table<R> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), marked: BTreeSet::new() }
    }
}

impl<R> Deref for Table<R> {
    type Target = BTreeMap<Box<str>, R>;

    fn deref(&self) -> &Self::Target {
        &self.rows
    }
}

impl<R: Row> Table<R> {
    /// The names of those that are marked.
    pub(super) const fn marked(&self) -> &BTreeSet<Box<str>> {
        &self.marked
    }

    fn set(&mut self, (name, row): Named<R>) {
        self.marked.remove(&name);
        match row {
            Some(row) => {
                if row.is_marked() {
                    self.marked.insert(name.clone());
                }
                self.rows.insert(name, row);
            }
            None => drop(self.rows.remove(&name)),
        }
    }
}

impl<R: Row> FromIterator<Named<R>> for Table<R> {
    fn from_iter<I: IntoIterator<Item = Named<R>>>(rows: I) -> Self {
        let mut table = Self::default();
        rows.into_iter().for_each(|row| table.set(row));
        table
    }
}

impl Cache {
    /// This is all there is in a place.
    pub(super) fn reset<R: Row>(&self, rows: Vec<Named<R>>, revision: Revision) {
        let fresh: Table<R> = rows.into_iter().collect();
        let old = self.write(|content| std::mem::replace(R::table(content), fresh));
        // Dropped outside of the lock: it may be a hundred thousand jobs.
        drop(old);
        // As it is: after a restore it is below what was seen before.
        self.reached(R::PLACE, |_| revision);
    }

    /// This has changed.
    pub(super) fn change<R: Row>(&self, rows: Vec<Named<R>>, revision: Revision) {
        if !rows.is_empty() {
            self.write(|content| rows.into_iter().for_each(|row| R::table(content).set(row)));
        }
        self.reached(R::PLACE, |known| known.max(revision));
    }
}
