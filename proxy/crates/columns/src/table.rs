//! Rows that are being collected, and the record batch that they become.

use std::sync::Arc;

use arrow_array::{RecordBatch, StructArray};
use arrow_schema::{ArrowError, Field as ArrowField, Schema};
use serde_json::Value as Json;

use crate::any;
use crate::column::{Cell, Column};
use crate::protobuf::MalformedError;
use crate::recent::{Key, Recent};
use crate::request::{Attribute, AttributeName, Request, Span};
use crate::schema::{self, ATTRIBUTES, OWN, Places};
use crate::{DURATION_NS_MAX, START_NS_MAX};

/// How many spans of a request were taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Added {
    /// Spans that became rows.
    pub taken: usize,
    /// Spans without a valid trace id and span id.
    pub refused: usize,
    /// Spans that had come before.
    pub repeated: usize,
}

/// Spans as columns, row after row.
pub struct Columns {
    rows: Rows,
    places: Places,
    recent: Recent,
}

impl Default for Columns {
    fn default() -> Self {
        Self::new()
    }
}

impl Columns {
    /// No rows.
    #[must_use]
    pub fn new() -> Self {
        Self {
            rows: Rows::new(),
            places: schema::places(),
            recent: Recent::default(),
        }
    }

    /// Rows that wait to be taken.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows.count
    }

    /// Adds the spans of an `ExportTraceServiceRequest`, or of several put end to end.
    ///
    /// # Errors
    /// The bytes are something else; nothing was added. Never panics, for any bytes.
    pub fn add(&mut self, otlp: &[u8]) -> Result<Added, MalformedError> {
        self.add_where(otlp, |_, _| true)
    }

    /// The same for a sender that may repeat itself: what is among the last [`RECENT_SPANS_MIN`](crate::RECENT_SPANS_MIN)
    /// spans that came this way is left out.
    ///
    /// # Errors
    /// As above.
    pub fn add_once(&mut self, otlp: &[u8]) -> Result<Added, MalformedError> {
        self.add_where(otlp, Recent::is_first)
    }

    fn add_where(
        &mut self,
        otlp: &[u8],
        is_wanted: impl Fn(&mut Recent, Key) -> bool,
    ) -> Result<Added, MalformedError> {
        let request = Request::read(otlp, &self.places)?;
        let mut added = Added::default();
        for (number, span) in request.spans.iter().enumerate() {
            crate::let_others_run(number, crate::SPANS_A_TURN);
            match Ids::of(span) {
                None => added.refused += 1,
                Some(ids) if is_wanted(&mut self.recent, ids.key(span.kind)) => {
                    self.rows.add(&request, span, &ids);
                    added.taken += 1;
                }
                Some(_) => added.repeated += 1,
            }
        }
        Ok(added)
    }

    /// All rows as one record batch with the columns of the schema; afterwards there are none.
    ///
    /// # Errors
    /// The columns do not fit together: a bug.
    pub fn take(&mut self) -> Result<StructArray, ArrowError> {
        self.rows.take()
    }
}

struct Rows {
    /// Those of [`OWN`], then those of [`ATTRIBUTES`].
    all: Vec<Column>,
    count: usize,
}

impl Rows {
    fn new() -> Self {
        let kinds = OWN.iter().map(|field| field.kind);
        let kinds = kinds.chain(ATTRIBUTES.iter().map(|(_, kind)| *kind));
        Self {
            all: kinds.map(Column::new).collect(),
            count: 0,
        }
    }

    fn take(&mut self) -> Result<StructArray, ArrowError> {
        let count = std::mem::take(&mut self.count);
        let arrays = self.all.iter_mut().enumerate().map(|(number, it)| {
            crate::let_others_run(number, crate::COLUMNS_A_TURN);
            it.take(count)
        });
        let arrays = arrays.collect::<Result<Vec<_>, _>>()?;
        let names = OWN.iter().map(|field| field.name);
        let names = names.chain(ATTRIBUTES.iter().map(|(name, _)| *name));
        let fields: Vec<_> = names
            .zip(&arrays)
            .map(|(name, array)| ArrowField::new(name, array.data_type().clone(), true))
            .collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map(StructArray::from)
    }

    fn add(&mut self, request: &Request<'_>, span: &Span<'_>, ids: &Ids) {
        let row = self.count;
        self.count += 1;
        let resource = &request.resources[span.resource];
        let duration_ns = span.end_unix_ns.saturating_sub(span.start_unix_ns);
        let own = [
            Some(Cell::Id(ids.trace_hi)),
            Some(Cell::Id(ids.trace_lo)),
            Some(Cell::Id(ids.span)),
            ids.parent.map(Cell::Id),
            Some(Cell::Int(signed(span.start_unix_ns).min(START_NS_MAX))),
            Some(Cell::Int(signed(duration_ns).min(DURATION_NS_MAX))),
            Some(Cell::Int(signed(span.kind))),
            Some(Cell::Int(signed(span.status))),
            Some(Cell::Text(span.name)),
            Some(Cell::Text(resource.service)),
            text(resource.instance),
            text(span.scope),
            text(span.status_message),
            text(span.trace_state),
            (resource.rest != "{}").then_some(Cell::Text(&resource.rest)),
        ];
        for (column, cell) in self.all.iter_mut().zip(own) {
            if let Some(cell) = cell {
                column.set(row, cell);
            }
        }
        let mut rest = Vec::new();
        for Attribute { name, value } in request.attributes(span) {
            match *name {
                AttributeName::Other(name) => rest.push((name, value.clone())),
                AttributeName::Column(place) => {
                    if !self.all[OWN.len() + place].set_any(row, value) {
                        rest.push((ATTRIBUTES[place].0, value.clone()));
                    }
                }
            }
        }
        let json = [
            (!rest.is_empty()).then(|| any::object(rest)),
            list(&span.events),
            list(&span.links),
        ];
        for (column, json) in self.all[own.len()..].iter_mut().zip(json) {
            if let Some(json) = json {
                column.set(row, Cell::Text(&json));
            }
        }
    }
}

/// The ids of a span, as numbers.
struct Ids {
    trace_hi: u64,
    trace_lo: u64,
    span: u64,
    parent: Option<u64>,
}

impl Ids {
    /// `None` where one that must be there is not, or is zero.
    fn of(span: &Span<'_>) -> Option<Self> {
        let (trace_hi, trace_lo) = span.trace_id.split_at_checked(8)?;
        let ids = Self {
            trace_hi: number(trace_hi)?,
            trace_lo: number(trace_lo)?,
            span: number(span.id)?,
            parent: number(span.parent_id).filter(|id| *id != 0),
        };
        ((ids.trace_hi, ids.trace_lo) != (0, 0) && ids.span != 0).then_some(ids)
    }

    fn key(&self, kind: u64) -> Key {
        [self.trace_hi, self.trace_lo, self.span, kind]
    }
}

fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn text(text: &str) -> Option<Cell<'_>> {
    (!text.is_empty()).then_some(Cell::Text(text))
}

fn list(entries: &[Json]) -> Option<String> {
    (!entries.is_empty()).then(|| Json::Array(entries.to_vec()).to_string())
}
