//! For any bytes: never a panic, and what is refused adds nothing. Damaged requests show it.

#![allow(clippy::unwrap_used)]

use spanway_columns::Columns;

/// A request with one span that has an attribute of each kind, an event and a link.
fn seed() -> Vec<u8> {
    fn message(number: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).unwrap();
        assert!(length < 128, "one byte says it");
        [&[number << 3 | 2, length], content].concat()
    }
    fn attribute(value: &[u8]) -> Vec<u8> {
        let pair = [message(1, b"a.b"), message(2, value)].concat();
        message(9, &pair)
    }
    let list = message(5, &message(1, &[0x18, 1]));
    let map = message(
        6,
        &message(1, &[message(1, b"k"), message(2, &[0x10, 1])].concat()),
    );
    let fields = [
        message(1, &[7; 16]),
        message(2, &[8; 8]),
        message(5, b"GET /"),
        vec![0x30, 2, 0x39, 1, 2, 3, 4, 5, 6, 7, 8],
        attribute(&message(1, b"text")),
        attribute(&[0x21, 0, 0, 0, 0, 0, 0, 0xf0, 0x7f]),
    ]
    .concat();
    let more = [
        attribute(&list),
        attribute(&map),
        message(13, &message(1, &[9; 16])),
    ]
    .concat();
    let span = |fields: &[u8]| message(2, fields);
    let scope = |fields: &[u8]| message(2, &span(fields));
    [
        message(1, &scope(&fields)),
        message(1, &scope(&[&fields[..28], &more].concat())),
    ]
    .concat()
}

/// The invariant. Returns whether the bytes were taken.
fn check(otlp: &[u8]) -> bool {
    let mut columns = Columns::new();
    let added = columns.add(otlp);
    let taken = added.map_or(0, |added| added.taken);
    assert_eq!(columns.rows(), taken);
    let rows = columns.take().unwrap();
    assert_eq!(arrow_array::Array::len(&rows), taken);
    assert_eq!(columns.rows(), 0);
    added.is_ok()
}

#[test]
fn seed_is_two_rows() {
    let mut columns = Columns::new();
    let added = columns.add(&seed()).unwrap();
    assert_eq!((added.taken, added.refused), (2, 0));
}

#[test]
fn what_is_sent_again_is_no_row_where_that_may_be() {
    let mut columns = Columns::new();
    assert_eq!(columns.add_once(&seed()).unwrap().taken, 2);
    columns.take().unwrap();
    let again = columns.add_once(&seed()).unwrap();
    assert_eq!((again.taken, again.repeated, columns.rows()), (0, 2, 0));
    assert_eq!(columns.add(&seed()).unwrap().taken, 2);
}

#[test]
fn every_beginning_is_taken_whole_or_not_at_all() {
    let seed = seed();
    for end in 0..seed.len() {
        check(&seed[..end]);
    }
}

#[test]
fn every_byte_may_be_any_other() {
    let seed = seed();
    let mut refused = 0;
    for place in 0..seed.len() {
        for byte in 0..=u8::MAX {
            let mut mutant = seed.clone();
            mutant[place] = byte;
            refused += usize::from(!check(&mutant));
        }
    }
    assert!(refused > 0, "the damage is never noticed");
}

#[test]
fn deep_nesting_is_refused() {
    let mut value = vec![0x10, 1];
    for _ in 0..=spanway_columns::NESTING_MAX + 1 {
        let list = |content: &[u8], tag: u8| {
            let length = u8::try_from(content.len()).unwrap();
            [&[tag, length], content].concat()
        };
        value = list(&list(&value, 0x0a), 0x2a);
    }
    let pair = [&[0x12, u8::try_from(value.len()).unwrap()], &value[..]].concat();
    let attribute = [&[0x4a, u8::try_from(pair.len()).unwrap()], &pair[..]].concat();
    let span = [
        &[0x12, u8::try_from(attribute.len()).unwrap()],
        &attribute[..],
    ]
    .concat();
    let scope = [&[0x12, u8::try_from(span.len()).unwrap()], &span[..]].concat();
    let request = [&[0x0a, u8::try_from(scope.len()).unwrap()], &scope[..]].concat();
    assert!(
        Columns::new()
            .add(&request)
            .unwrap_err()
            .to_string()
            .contains("nested")
    );
}
