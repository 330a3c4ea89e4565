//! Sets of keys that scans are limited to.

use std::sync::Arc;

use crate::columnar::interner::StringIndex;

/// A set of keys.
pub trait Keys: std::fmt::Debug + Send + Sync {
    /// Whether rows of this key are wanted.
    fn contains(&self, key: &str) -> bool;

    /// The same for many keys: where looking one up waits for memory, together is quicker.
    fn contain(&self, keys: &mut dyn Iterator<Item = &str>) -> Vec<bool> {
        keys.map(|key| self.contains(key)).collect()
    }

    /// How many there are.
    fn len(&self) -> usize;

    /// Whether no row is wanted.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Each of them once, in any order.
    fn iter(&self) -> Box<dyn Iterator<Item = &str> + '_>;
}

/// Keys that were put together for a scan.
#[derive(Debug, Default)]
struct KeySet(StringIndex);

impl Keys for KeySet {
    fn contains(&self, key: &str) -> bool {
        self.0.get(key).is_some()
    }

    fn contain(&self, keys: &mut dyn Iterator<Item = &str>) -> Vec<bool> {
        self.0.contain(keys)
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn iter(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.0.iter())
    }
}

/// These keys, for a scan to be limited to.
#[must_use]
pub fn keys<T: AsRef<str>>(keys: impl IntoIterator<Item = T>) -> Arc<dyn Keys> {
    let mut set = KeySet::default();
    for key in keys {
        set.0.number(key.as_ref());
    }
    Arc::new(set)
}
