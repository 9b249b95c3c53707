//! A policy's edits of a head, applied where its fields are written.

use crate::headers::FieldSink;
use crate::table::{Facts, HeaderEdits};

/// The edits of one head, and the request that they take their facts from.
pub struct Editor<'a> {
    pub edits: &'a HeaderEdits,
    pub facts: Facts<'a>,
}

impl Editor<'_> {
    /// The host that the endpoint is told instead of the client's.
    pub fn host(&self) -> Option<&[u8]> {
        self.edits.host.as_deref()
    }

    /// Lets `write` write its fields, without those that are edited away; the policy's follow.
    pub fn edit<S: FieldSink>(&self, out: &mut S, write: impl FnOnce(&mut Edited<'_, S>)) {
        let edits = self.edits;
        write(&mut Edited { out, edits });
        for (name, value) in edits.written(&self.facts) {
            // A variable that is empty may leave a blank at an end, which RFC 9113 forbids.
            out.field(name, value.trim_ascii());
        }
    }
}

/// Where fields go that are not edited away.
pub struct Edited<'a, S> {
    out: &'a mut S,
    edits: &'a HeaderEdits,
}

impl<S: FieldSink> FieldSink for Edited<'_, S> {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        if !self.edits.drops(name) {
            self.out.field(name, value);
        }
    }
}
