//! One worker's spans, gathered into batches.
//!
//! A batch is an `ExportTraceServiceRequest` from its first byte: the resource and the scope come
//! from a template with gaps for two lengths, spans are appended behind, sealing fills the gaps.
//! A full batch is never copied.

use std::sync::Arc;

use super::attribute::{LENGTH, LengthGap, field, put_bytes, put_resource_text, put_string_field};
use super::connection::{Connection, put_connection};
use super::otlp::put_segment;
use super::queue::{Batch, SpanQueue};
use super::segment::Segment;
use super::timing::Timeline;
use crate::limits::BATCH_BYTES;

/// Room behind that for the segment that crosses the line, so that the buffer need not grow.
const SEGMENT_BYTES_TYPICAL: usize = 8 * 1024;

const SCOPE_NAME: &str = "spanway";
const SCHEMA_URL: &[u8] = b"https://opentelemetry.io/schemas/1.44.0";

/// `ExportTraceServiceRequest.resource_spans`.
const RESOURCE_SPANS: u8 = field(1, LENGTH);
/// `ResourceSpans.resource`, `.scope_spans`.
const RESOURCE: u8 = field(1, LENGTH);
const SCOPE_SPANS: u8 = field(2, LENGTH);
/// `ScopeSpans.scope`, `.schema_url`.
const SCOPE: u8 = field(1, LENGTH);
const SCHEMA: u8 = field(3, LENGTH);
/// `InstrumentationScope.name`, `.version`.
const NAME: u8 = field(1, LENGTH);
const VERSION: u8 = field(2, LENGTH);

/// Who the spans are of: `service.name` and the like, as text.
#[derive(Debug, Clone, Default)]
pub struct Resource {
    /// Names and values.
    pub attributes: Vec<(String, String)>,
}

/// One worker's open batch.
#[derive(Debug)]
pub struct Recorder {
    queue: Arc<SpanQueue>,
    /// What every batch begins with, its gaps open.
    template: Vec<u8>,
    resource_spans: LengthGap<5>,
    scope_spans: LengthGap<5>,
    /// The open batch, which begins with the template.
    batch: Vec<u8>,
    span_count: usize,
}

impl Recorder {
    /// A recorder whose batches go to `queue`.
    #[must_use]
    pub fn new(resource: &Resource, queue: Arc<SpanQueue>) -> Self {
        let mut template = vec![RESOURCE_SPANS];
        let resource_spans = LengthGap::open(&mut template);
        put_resource(&mut template, resource);
        template.push(SCOPE_SPANS);
        let scope_spans = LengthGap::open(&mut template);
        put_scope(&mut template);
        let mut batch = queue.buffer(BATCH_BYTES + SEGMENT_BYTES_TYPICAL);
        batch.extend_from_slice(&template);
        Self {
            queue,
            template,
            resource_spans,
            scope_spans,
            batch,
            span_count: 0,
        }
    }

    /// Appends the spans of a request that is to be recorded ([`super::Decision::Sampled`]).
    pub fn record(&mut self, segment: &Segment<'_>, timeline: &Timeline) {
        self.span_count += put_segment(&mut self.batch, segment, timeline);
        self.seal_full();
    }

    /// Appends the spans of a connection that was handed on.
    pub fn record_connection(&mut self, connection: &Connection<'_>) {
        self.span_count += put_connection(&mut self.batch, connection);
        self.seal_full();
    }

    fn seal_full(&mut self) {
        if self.batch.len() >= BATCH_BYTES {
            self.flush();
        }
    }

    /// Seals the open batch, unless it is empty, and hands it to the queue.
    pub fn flush(&mut self) {
        if self.span_count == 0 {
            return;
        }
        self.scope_spans.close(&mut self.batch);
        self.resource_spans.close(&mut self.batch);
        let span_count = std::mem::take(&mut self.span_count);
        // A quiet worker's batches are small: each holds on to what it fills, not to a whole buffer.
        let otlp = if self.batch.len() < BATCH_BYTES / 2 {
            let otlp = self.batch.as_slice().to_vec();
            self.batch.clear();
            otlp
        } else {
            let next = self.queue.buffer(BATCH_BYTES + SEGMENT_BYTES_TYPICAL);
            std::mem::replace(&mut self.batch, next)
        };
        self.batch.extend_from_slice(&self.template);
        self.queue.push(Batch { otlp, span_count });
    }
}

/// A worker that ends leaves nothing behind.
impl Drop for Recorder {
    fn drop(&mut self) {
        self.flush();
    }
}

fn put_resource(out: &mut Vec<u8>, resource: &Resource) {
    let mut attributes = Vec::new();
    for (key, value) in &resource.attributes {
        put_resource_text(&mut attributes, key, value);
    }
    put_bytes(out, RESOURCE, &attributes);
}

fn put_scope(out: &mut Vec<u8>) {
    let mut scope = Vec::new();
    put_string_field(&mut scope, NAME, SCOPE_NAME.as_bytes());
    put_string_field(&mut scope, VERSION, env!("CARGO_PKG_VERSION").as_bytes());
    put_bytes(out, SCOPE, &scope);
    put_string_field(out, SCHEMA, SCHEMA_URL);
}
