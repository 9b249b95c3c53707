//! A map whose copy with a few changes is cheap.
//!
//! The entries are spread over shards; a copy shares all shards but those that it changes. So a
//! generation that differs in one backend costs the copy of a few dozen pointers, and dropping the
//! last reference to the old one, which may happen on a worker, costs as little.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use rustc_hash::{FxBuildHasher, FxHashMap};

/// 10,000 entries make 40 per shard; copying the array of shards itself takes about 1 µs.
const SHARD_COUNT: usize = 256;

type Shard<V> = FxHashMap<Arc<[u8]>, Arc<V>>;

#[derive(Debug)]
pub(super) struct SharedMap<V> {
    shards: Box<[Arc<Shard<V>>]>,
}

impl<V> SharedMap<V> {
    pub(super) fn get(&self, key: &[u8]) -> Option<&Arc<V>> {
        self.shards[shard_index(key)].get(key)
    }

    pub(super) fn insert(&mut self, key: &[u8], value: Arc<V>) {
        let shard = Arc::make_mut(&mut self.shards[shard_index(key)]);
        shard.insert(Arc::from(key), value);
    }

    pub(super) fn remove(&mut self, key: &[u8]) {
        let shard = &mut self.shards[shard_index(key)];
        if shard.contains_key(key) {
            Arc::make_mut(shard).remove(key);
        }
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Arc<V>> {
        self.shards.iter().flat_map(|shard| shard.values())
    }
}

/// Other bits of the hash than those that the shards' own tables use.
fn shard_index(key: &[u8]) -> usize {
    let mut hasher = FxBuildHasher.build_hasher();
    hasher.write(key);
    (hasher.finish() >> 32) as usize % SHARD_COUNT
}

impl<V> Clone for SharedMap<V> {
    fn clone(&self) -> Self {
        Self {
            shards: self.shards.clone(),
        }
    }
}

impl<V> Default for SharedMap<V> {
    fn default() -> Self {
        Self {
            shards: (0..SHARD_COUNT).map(|_| Arc::default()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_copy_shares_all_shards_but_those_it_changed() {
        let mut old = SharedMap::default();
        for index in 0..10_000_u32 {
            old.insert(index.to_string().as_bytes(), Arc::new(index));
        }
        let mut new = old.clone();
        new.insert(b"17", Arc::new(0));
        new.remove(b"not there");
        let pairs = old.shards.iter().zip(&new.shards);
        assert_eq!(pairs.filter(|(old, new)| !Arc::ptr_eq(old, new)).count(), 1);
        assert_eq!(
            (old.get(b"17").map(|v| **v), new.get(b"17").map(|v| **v)),
            (Some(17), Some(0))
        );
    }

    #[test]
    fn entries_are_spread_over_the_shards() {
        let mut map = SharedMap::default();
        for index in 0..10_000 {
            let name = format!("host-{index}.shop.example");
            map.insert(name.as_bytes(), Arc::new(()));
        }
        let longest = map.shards.iter().map(|shard| shard.len()).max();
        assert!(longest < Some(80), "{longest:?}");
        assert_eq!(map.values().count(), 10_000);
    }
}
