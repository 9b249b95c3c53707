//! An `ExportTraceServiceRequest`, read in place: its spans, each with its resource and scope.
//!
//! Source: opentelemetry-proto 1.x, `trace.proto`, `resource.proto`.

use std::ops::Range;

use serde_json::{Value as Json, json};

use crate::any::{self, Any, Pair, hex};
use crate::protobuf::{MalformedError, fields, text};
use crate::schema::Places;

/// All that a request holds, borrowed from its bytes.
pub(crate) struct Request<'a> {
    pub(crate) spans: Vec<Span<'a>>,
    pub(crate) resources: Vec<Resource<'a>>,
    /// Of all spans, one after the other.
    attributes: Vec<Attribute<'a>>,
    places: &'a Places,
}

/// An attribute of a span.
pub(crate) struct Attribute<'a> {
    pub(crate) name: AttributeName<'a>,
    pub(crate) value: Any<'a>,
}

/// What it is called.
#[derive(Clone, Copy)]
pub(crate) enum AttributeName<'a> {
    /// As the column with this place among those of attributes.
    Column(usize),
    Other(&'a str),
}

/// Who made spans.
#[derive(Debug, Default)]
pub(crate) struct Resource<'a> {
    pub(crate) service: &'a str,
    pub(crate) instance: &'a str,
    /// The other attributes as a JSON object.
    pub(crate) rest: String,
}

/// One span. Times are nanoseconds since 1970.
#[derive(Debug, Default)]
pub(crate) struct Span<'a> {
    pub(crate) trace_id: &'a [u8],
    pub(crate) id: &'a [u8],
    pub(crate) parent_id: &'a [u8],
    pub(crate) trace_state: &'a str,
    pub(crate) name: &'a str,
    pub(crate) kind: u64,
    pub(crate) start_unix_ns: u64,
    pub(crate) end_unix_ns: u64,
    pub(crate) status: u64,
    pub(crate) status_message: &'a str,
    /// JSON, empty where there are none.
    pub(crate) events: Vec<Json>,
    pub(crate) links: Vec<Json>,
    /// Its place in [`Request::resources`].
    pub(crate) resource: usize,
    pub(crate) scope: &'a str,
    attributes: Range<usize>,
}

impl<'a> Request<'a> {
    /// Reads the whole request.
    ///
    /// # Errors
    /// The bytes are something else. Never panics, for any bytes.
    pub(crate) fn read(message: &'a [u8], places: &'a Places) -> Result<Self, MalformedError> {
        let mut request = Self {
            spans: Vec::new(),
            resources: Vec::new(),
            attributes: Vec::new(),
            places,
        };
        for field in fields(message) {
            if let (1, resource_spans) = field? {
                request.resource_spans(resource_spans.bytes()?)?;
            }
        }
        Ok(request)
    }

    /// The attributes of a span.
    pub(crate) fn attributes(&self, span: &Span<'a>) -> &[Attribute<'a>] {
        &self.attributes[span.attributes.clone()]
    }

    fn resource_spans(&mut self, message: &'a [u8]) -> Result<(), MalformedError> {
        let mut resource = Resource::default();
        // Fields may come in any order, and the resource belongs to all spans.
        for field in fields(message) {
            if let (1, value) = field? {
                resource = read_resource(value.bytes()?)?;
            }
        }
        self.resources.push(resource);
        for field in fields(message) {
            if let (2, value) = field? {
                self.scope_spans(value.bytes()?)?;
            }
        }
        Ok(())
    }

    fn scope_spans(&mut self, message: &'a [u8]) -> Result<(), MalformedError> {
        let mut scope = "";
        for field in fields(message) {
            if let (1, value) = field? {
                scope = scope_name(value.bytes()?)?;
            }
        }
        for field in fields(message) {
            if let (2, value) = field? {
                let span = self.span(value.bytes()?, scope)?;
                self.spans.push(span);
                crate::let_others_run(self.spans.len(), crate::SPANS_A_TURN);
            }
        }
        Ok(())
    }

    fn span(&mut self, message: &'a [u8], scope: &'a str) -> Result<Span<'a>, MalformedError> {
        let first = self.attributes.len();
        let mut span = Span {
            resource: self.resources.len() - 1,
            scope,
            ..Span::default()
        };
        for field in fields(message) {
            let (number, value) = field?;
            match number {
                1 => span.trace_id = value.bytes()?,
                2 => span.id = value.bytes()?,
                3 => span.trace_state = value.text()?,
                4 => span.parent_id = value.bytes()?,
                5 => span.name = value.text()?,
                6 => span.kind = value.number()?,
                7 => span.start_unix_ns = value.number()?,
                8 => span.end_unix_ns = value.number()?,
                9 => self.attribute(value.bytes()?)?,
                11 => span.events.push(event(value.bytes()?)?),
                13 => span.links.push(link(value.bytes()?)?),
                15 => (span.status, span.status_message) = status(value.bytes()?)?,
                _ => {}
            }
        }
        span.attributes = first..self.attributes.len();
        Ok(span)
    }

    fn attribute(&mut self, message: &'a [u8]) -> Result<(), MalformedError> {
        let (name, value) = any::named(message)?;
        let name = match self.places.get(name) {
            Some(place) => AttributeName::Column(*place),
            None => AttributeName::Other(text(name)?),
        };
        self.attributes.push(Attribute { name, value });
        Ok(())
    }
}

fn read_resource(message: &[u8]) -> Result<Resource<'_>, MalformedError> {
    let mut pairs: Vec<Pair<'_>> = Vec::new();
    for field in fields(message) {
        if let (1, value) = field? {
            pairs.push(any::pair(value.bytes()?)?);
        }
    }
    let mut resource = Resource::default();
    pairs.retain(|(name, value)| {
        let place = match *name {
            "service.name" => &mut resource.service,
            "service.instance.id" => &mut resource.instance,
            _ => return true,
        };
        let Any::Text(text) = value else {
            return true;
        };
        *place = text;
        false
    });
    resource.rest = any::object(pairs);
    Ok(resource)
}

fn scope_name(message: &[u8]) -> Result<&str, MalformedError> {
    let mut name = "";
    for field in fields(message) {
        if let (1, value) = field? {
            name = value.text()?;
        }
    }
    Ok(name)
}

fn status(message: &[u8]) -> Result<(u64, &str), MalformedError> {
    let (mut code, mut text) = (0, "");
    for field in fields(message) {
        match field? {
            (2, value) => text = value.text()?,
            (3, value) => code = value.number()?,
            _ => {}
        }
    }
    Ok((code, text))
}

fn event(message: &[u8]) -> Result<Json, MalformedError> {
    let (mut unix_ns, mut name, mut attributes) = (0, "", serde_json::Map::new());
    for field in fields(message) {
        match field? {
            (1, value) => unix_ns = value.number()?,
            (2, value) => name = value.text()?,
            (3, value) => {
                let (name, value) = any::pair(value.bytes()?)?;
                attributes.insert(name.to_owned(), any::json(value));
            }
            _ => {}
        }
    }
    Ok(json!({"unix_ns": unix_ns, "name": name, "attributes": attributes}))
}

fn link(message: &[u8]) -> Result<Json, MalformedError> {
    let (mut trace_id, mut span_id) = (String::new(), String::new());
    let mut attributes = serde_json::Map::new();
    for field in fields(message) {
        match field? {
            (1, value) => trace_id = hex(value.bytes()?),
            (2, value) => span_id = hex(value.bytes()?),
            (4, value) => {
                let (name, value) = any::pair(value.bytes()?)?;
                attributes.insert(name.to_owned(), any::json(value));
            }
            _ => {}
        }
    }
    Ok(json!({"trace_id": trace_id, "span_id": span_id, "attributes": attributes}))
}
