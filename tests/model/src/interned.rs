//! Values kept once for the whole process, so that a state of the model is a handful of numbers: copied, compared
//! and hashed by identity.

use std::{collections::HashMap, fmt, hash::Hash, ops::Deref};

use parking_lot::{Mutex, RwLock};

/// A value that is kept once. Two are equal exactly if they were interned from the same text.
pub struct Interned<T: 'static>(&'static (u32, T));

impl<T> Clone for Interned<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Interned<T> {}

impl<T> PartialEq for Interned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.0 == other.0.0
    }
}

impl<T> Eq for Interned<T> {}

impl<T> PartialOrd for Interned<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Interned<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.0.cmp(&other.0.0)
    }
}

impl<T> Hash for Interned<T> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.0.hash(state);
    }
}

impl<T> Deref for Interned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.1
    }
}

impl<T: fmt::Debug> fmt::Debug for Interned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.1.fmt(f)
    }
}

/// Where interned values are found again, by their text.
pub struct Table<T: 'static>(Mutex<Option<HashMap<Vec<u8>, Interned<T>>>>);

impl<T> Table<T> {
    /// An empty table, for a static.
    pub const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// The value of this text, made when it is met first. It is kept for ever: a model has few.
    pub fn intern(&self, text: Vec<u8>, make: impl FnOnce(&[u8]) -> T) -> Interned<T> {
        let mut table = self.0.lock();
        let table = table.get_or_insert_with(HashMap::new);
        let id = u32::try_from(table.len()).expect("a model has few values");
        *table.entry(text).or_insert_with_key(|text| Interned(Box::leak(Box::new((id, make(text))))))
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// What a pure function gave, kept by its arguments.
pub struct Memo<K, V: 'static>(RwLock<Option<HashMap<K, &'static V>>>);

impl<K: Eq + Hash, V> Memo<K, V> {
    /// An empty one, for a static.
    pub const fn new() -> Self {
        Self(RwLock::new(None))
    }

    /// What `make` gives for `key`, computed when it is met first.
    pub fn get(&self, key: K, make: impl FnOnce(&K) -> V) -> &'static V {
        let known = self.0.read();
        if let Some(value) = known.as_ref().and_then(|known| known.get(&key)) {
            return value;
        }
        drop(known);
        let value: &'static V = Box::leak(Box::new(make(&key)));
        let mut known = self.0.write();
        known.get_or_insert_with(HashMap::new).entry(key).or_insert(value)
    }
}

impl<K: Eq + Hash, V> Default for Memo<K, V> {
    fn default() -> Self {
        Self::new()
    }
}
