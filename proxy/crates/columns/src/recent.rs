//! Which spans came lately: whoever gets no answer sends them again.

use std::collections::HashSet;

/// Spans that are remembered at least; at most twice as many, in 9 MiB. Senders give up after a minute
/// (OpenTelemetry's SDKs) or five (its Collector).
pub const RECENT_SPANS_MIN: usize = 100_000;

/// The halves of a trace id, a span's id, and its kind: with Zipkin both sides of a call share one id.
pub(crate) type Key = [u64; 4];

/// The newest spans, by their ids.
#[derive(Default)]
pub(crate) struct Recent {
    newer: HashSet<Key>,
    older: HashSet<Key>,
}

impl Recent {
    /// Whether it comes for the first time, as far as is remembered.
    pub(crate) fn is_first(&mut self, key: Key) -> bool {
        let is_first = !self.older.contains(&key) && self.newer.insert(key);
        if self.newer.len() >= RECENT_SPANS_MIN {
            self.older = std::mem::take(&mut self.newer);
        }
        is_first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(span: usize) -> Key {
        [0, 1, span as u64, 2]
    }

    #[test]
    fn as_many_are_remembered_as_is_said_and_not_more_than_twice_as_many() {
        let mut recent = Recent::default();
        for span in 0..3 * RECENT_SPANS_MIN {
            assert!(recent.is_first(key(span)));
            assert!(!recent.is_first(key(span.saturating_sub(RECENT_SPANS_MIN - 1))));
            assert!(recent.newer.len() + recent.older.len() < 2 * RECENT_SPANS_MIN);
        }
    }

    #[test]
    fn both_sides_of_a_call_may_have_one_id() {
        let mut recent = Recent::default();
        assert!(recent.is_first([0, 1, 7, 2]));
        assert!(recent.is_first([0, 1, 7, 3]));
    }
}
