//! `tests/vectors/hostile_requests.json`, as far as the codec alone can tell.

use crate::exchange::{Connection, Exchange, exchange};
use serde::Deserialize;
use std::sync::LazyLock;

#[derive(Deserialize)]
struct Vectors {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
pub struct Case {
    pub name: String,
    send: Text,
    pub want: Want,
}

#[derive(Deserialize)]
pub struct Want {
    pub status: u16,
    responses: Option<usize>,
    upstream: Option<OneOrMany>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(Upstream),
    Many(Vec<Upstream>),
}

#[derive(Deserialize)]
struct Upstream {
    request_line: Text,
    #[serde(default)]
    has: Vec<String>,
    #[serde(default)]
    lacks: Vec<String>,
    body: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Plain(String),
    Repeated { repeat: String, times: usize },
    List(Vec<Text>),
}

impl Text {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Plain(text) => latin1(text),
            Self::Repeated { repeat, times } => latin1(repeat).repeat(*times),
            Self::List(parts) => parts.iter().flat_map(Self::bytes).collect(),
        }
    }
}

fn latin1(text: &str) -> Vec<u8> {
    text.chars()
        .map(|char| u8::try_from(char).unwrap())
        .collect()
}

impl Case {
    pub fn bytes(&self) -> Vec<u8> {
        self.send.bytes()
    }

    fn upstream(&self) -> &[Upstream] {
        match &self.want.upstream {
            None => &[],
            Some(OneOrMany::One(one)) => std::slice::from_ref(one),
            Some(OneOrMany::Many(many)) => many,
        }
    }

    /// What is wrong with an exchange, if something is.
    fn complaint(&self, seen: &Exchange) -> Option<String> {
        let responses = self.want.responses.unwrap_or(1);
        let mut statuses = vec![200; responses];
        statuses[responses - 1] = self.want.status;
        if seen.statuses != statuses || seen.is_incomplete {
            return Some(format!(
                "statuses {:?}, want {statuses:?}; {seen:?}",
                seen.statuses
            ));
        }
        if seen.forwarded.len() != self.upstream().len() {
            return Some(format!("{} requests were forwarded", seen.forwarded.len()));
        }
        let mut pairs = self.upstream().iter().zip(&seen.forwarded);
        pairs.find_map(|(want, (head, body))| want.complaint(head, body))
    }
}

impl Upstream {
    fn complaint(&self, head: &[u8], body: &[u8]) -> Option<String> {
        let shown = String::from_utf8_lossy(head).into_owned();
        let (line, fields) = lines(head);
        let lacks = |name: &String| fields.iter().any(|(seen, _)| seen == &latin1(name));
        if line != self.request_line.bytes() {
            return Some(format!("request line of {shown}"));
        }
        if let Some(missing) = self
            .has
            .iter()
            .find(|field| !fields.contains(&field_of(field)))
        {
            return Some(format!("{missing:?} is missing in {shown}"));
        }
        if let Some(name) = self.lacks.iter().find(|name| lacks(name)) {
            return Some(format!("{name:?} was forwarded in {shown}"));
        }
        (body != latin1(&self.body)).then(|| format!("body {body:?}"))
    }
}

type Field = (Vec<u8>, Vec<u8>);

fn field_of(text: &str) -> Field {
    let (name, value) = text.split_once(": ").unwrap();
    (latin1(name).to_ascii_lowercase(), latin1(value))
}

/// Request line and fields, split without the parser that is tested.
fn lines(head: &[u8]) -> (Vec<u8>, Vec<Field>) {
    let text: String = head.iter().map(|&byte| char::from(byte)).collect();
    let mut lines = text.strip_suffix("\r\n\r\n").unwrap().split("\r\n");
    let line = latin1(lines.next().unwrap());
    (line, lines.map(field_of).collect())
}

pub static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../tests/vectors/hostile_requests.json"
    );
    let text = std::fs::read_to_string(path).unwrap();
    serde_json::from_str::<Vectors>(&text).unwrap().cases
});

fn assert_all_as_wanted(receive: impl Fn(&[u8]) -> Exchange) {
    let complaints: Vec<_> = CASES
        .iter()
        .filter_map(|case| {
            let complaint = case.complaint(&receive(&case.bytes()))?;
            Some(format!("{}: {complaint}", case.name))
        })
        .collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn hostile_requests_get_what_the_vectors_say() {
    assert_all_as_wanted(exchange);
}

#[test]
fn hostile_requests_get_the_same_byte_by_byte() {
    // Byte by byte but for the large ones, which are many bytes of one kind.
    assert_all_as_wanted(|bytes| {
        let mut connection = Connection::new();
        for part in bytes.chunks((bytes.len() / 1000).max(1)) {
            connection.receive(part);
        }
        connection.end()
    });
}

#[test]
fn there_are_vectors_for_refusals_and_for_odd_requests() {
    let refused = CASES.iter().filter(|case| case.want.status != 200).count();
    assert!(refused >= 150 && CASES.len() - refused >= 20);
}
