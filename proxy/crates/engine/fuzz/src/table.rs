//! The wire form of a table's update.

use spanway_engine::table::{Table, wire};

/// No bytes panic; what is refused says why; what is accepted is the next generation, and the same
/// update does not fit onto it again.
pub fn table(bytes: &[u8]) {
    let update = match wire::Update::decode(bytes) {
        Ok(update) => update,
        Err(refused) => return assert!(!refused.message.is_empty()),
    };
    let before = Table::empty();
    match before.apply(&update) {
        Ok((table, rejected)) => {
            assert!(rejected.iter().all(|one| !one.message.is_empty()));
            assert_eq!(table.generation, update.generation);
            assert!(table.hosts().count() <= update.hosts_upsert.len());
            assert!(table.backends().count() <= update.backends_upsert.len());
        }
        Err(refused) => assert!(!refused.message.is_empty()),
    }
    assert_eq!(before.generation, 0);
}
