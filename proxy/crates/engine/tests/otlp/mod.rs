//! A reader of OTLP that shares nothing with the encoder, and is stricter than a real one: unknown
//! fields, fields given twice and attributes given twice are failures.

use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Text(String),
    Bool(bool),
    Int(i64),
    Texts(Vec<String>),
}

pub type Attributes = BTreeMap<String, Value>;

#[derive(Debug, Default)]
pub struct Request {
    pub resource: Attributes,
    pub scope_name: String,
    pub scope_version: String,
    pub schema_url: String,
    pub spans: Vec<Span>,
}

/// Fields have the names of `trace.proto`.
#[allow(clippy::struct_field_names)]
#[derive(Debug, Default)]
pub struct Span {
    pub trace_id: Vec<u8>,
    pub span_id: Vec<u8>,
    pub trace_state: String,
    pub parent_span_id: Vec<u8>,
    pub flags: u32,
    pub name: String,
    pub kind: u64,
    pub start_unix_ns: u64,
    pub end_unix_ns: u64,
    pub attributes: Attributes,
    pub links: Vec<Link>,
    pub status_code: u64,
    pub status_message: String,
}

/// `Span.Link`.
#[derive(Debug, Default, PartialEq)]
pub struct Link {
    pub trace_id: Vec<u8>,
    pub span_id: Vec<u8>,
    pub flags: u32,
}

impl Span {
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.attributes.get(key) {
            Some(Value::Text(text)) => Some(text),
            None => None,
            other => panic!("{key} is {other:?}, not text"),
        }
    }

    pub fn int(&self, key: &str) -> Option<i64> {
        match self.attributes.get(key) {
            Some(Value::Int(number)) => Some(*number),
            None => None,
            other => panic!("{key} is {other:?}, not a number"),
        }
    }

    /// The span of a phase says which one it is.
    pub fn phase(&self) -> Option<&str> {
        self.text("spanway.phase")
    }

    /// The sum of all phases in microseconds.
    pub fn phases_us(&self) -> u64 {
        let phases = self
            .attributes
            .keys()
            .filter(|key| key.starts_with("spanway.phase."));
        phases
            .map(|key| u64::try_from(self.int(key).unwrap()).unwrap())
            .sum()
    }
}

enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    fn bytes(&self) -> &'a [u8] {
        let Self::Bytes(bytes) = self else {
            panic!("not a length-delimited field")
        };
        bytes
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes().to_vec()).expect("strings are valid UTF-8")
    }

    fn varint(&self) -> u64 {
        let Self::Varint(value) = self else {
            panic!("not a varint field")
        };
        *value
    }

    fn fixed32(&self) -> u32 {
        let Self::Fixed32(value) = self else {
            panic!("not a fixed32 field")
        };
        *value
    }

    fn fixed64(&self) -> u64 {
        let Self::Fixed64(value) = self else {
            panic!("not a fixed64 field")
        };
        *value
    }
}

/// Reads an `ExportTraceServiceRequest` with one resource and one scope.
pub fn read(otlp: &[u8]) -> Request {
    let mut request = Request::default();
    let [(1, resource_spans)] = &fields(otlp)[..] else {
        panic!("not one ResourceSpans")
    };
    for (number, field) in once(resource_spans.bytes(), &[]) {
        match number {
            1 => request.resource = attributes(&fields(field.bytes()), 1),
            2 => read_scope_spans(field.bytes(), &mut request),
            _ => panic!("ResourceSpans has a field {number}"),
        }
    }
    request
}

fn read_scope_spans(bytes: &[u8], request: &mut Request) {
    for (number, field) in once(bytes, &[2]) {
        match number {
            1 => {
                for (number, field) in once(field.bytes(), &[]) {
                    match number {
                        1 => request.scope_name = field.text(),
                        2 => request.scope_version = field.text(),
                        _ => panic!("InstrumentationScope has a field {number}"),
                    }
                }
            }
            2 => request.spans.push(read_span(field.bytes())),
            3 => request.schema_url = field.text(),
            _ => panic!("ScopeSpans has a field {number}"),
        }
    }
}

fn read_span(bytes: &[u8]) -> Span {
    let mut span = Span::default();
    for (number, field) in once(bytes, &[9, 13]) {
        match number {
            1 => span.trace_id = field.bytes().to_vec(),
            2 => span.span_id = field.bytes().to_vec(),
            3 => span.trace_state = field.text(),
            4 => span.parent_span_id = field.bytes().to_vec(),
            5 => span.name = field.text(),
            6 => span.kind = field.varint(),
            7 => span.start_unix_ns = field.fixed64(),
            8 => span.end_unix_ns = field.fixed64(),
            9 => {}
            15 => {
                for (number, field) in once(field.bytes(), &[]) {
                    match number {
                        2 => span.status_message = field.text(),
                        3 => span.status_code = field.varint(),
                        _ => panic!("Status has a field {number}"),
                    }
                }
            }
            13 => span.links.push(read_link(field.bytes())),
            16 => span.flags = field.fixed32(),
            _ => panic!("Span has a field {number}"),
        }
    }
    let only_attributes: Vec<_> = fields(bytes)
        .into_iter()
        .filter(|(number, _)| *number == 9)
        .collect();
    span.attributes = attributes(&only_attributes, 9);
    span
}

fn read_link(bytes: &[u8]) -> Link {
    let mut link = Link::default();
    for (number, field) in once(bytes, &[]) {
        match number {
            1 => link.trace_id = field.bytes().to_vec(),
            2 => link.span_id = field.bytes().to_vec(),
            6 => link.flags = field.fixed32(),
            _ => panic!("Link has a field {number}"),
        }
    }
    link
}

fn attributes(fields_of_message: &[(u64, Field<'_>)], expected: u64) -> Attributes {
    let mut attributes = Attributes::new();
    for (number, field) in fields_of_message {
        assert_eq!(*number, expected);
        let pair = once(field.bytes(), &[]);
        let [(1, key), (2, value)] = &pair[..] else {
            panic!("not a KeyValue")
        };
        let value = match &fields(value.bytes())[..] {
            [(1, text)] => Value::Text(text.text()),
            [(2, value)] => Value::Bool(value.varint() == 1),
            [(3, value)] => Value::Int(value.varint().cast_signed()),
            [(5, array)] => Value::Texts(texts(array.bytes())),
            _ => panic!("not one value of {}", key.text()),
        };
        let before = attributes.insert(key.text(), value);
        assert_eq!(before, None, "{} is there twice", key.text());
    }
    attributes
}

/// The elements of an `ArrayValue`, all of them text.
fn texts(array: &[u8]) -> Vec<String> {
    let element = |(number, element): (u64, Field<'_>)| {
        assert_eq!(number, 1);
        let [(1, text)] = &fields(element.bytes())[..] else {
            panic!("an element that is not text")
        };
        text.text()
    };
    fields(array).into_iter().map(element).collect()
}

/// The fields of a message, of which only `repeated` ones come more than once.
fn once<'a>(bytes: &'a [u8], repeated: &[u64]) -> Vec<(u64, Field<'a>)> {
    let fields = fields(bytes);
    for (index, (number, _)) in fields.iter().enumerate() {
        let is_again = fields[..index].iter().any(|(before, _)| before == number);
        assert!(
            !is_again || repeated.contains(number),
            "field {number} is there twice"
        );
    }
    fields
}

fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let field = match tag & 7 {
            0 => Field::Varint(varint(&mut bytes)),
            1 => Field::Fixed64(u64::from_le_bytes(take(&mut bytes, 8).try_into().unwrap())),
            2 => {
                let length = usize::try_from(varint(&mut bytes)).unwrap();
                Field::Bytes(take(&mut bytes, length))
            }
            5 => Field::Fixed32(u32::from_le_bytes(take(&mut bytes, 4).try_into().unwrap())),
            other => panic!("wire type {other}"),
        };
        fields.push((tag >> 3, field));
    }
    fields
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(count);
    *bytes = rest;
    taken
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
    }
    panic!("a varint of more than ten bytes");
}
