//! The fields of a message in their order: positions in one buffer, and a set of what is present.

use super::{Name, NameSet};

/// A range of a head's bytes.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Part {
    start: u32,
    end: u32,
}

impl Part {
    pub(crate) const fn new(start: usize, end: usize) -> Self {
        Self {
            start: start as u32,
            end: end as u32,
        }
    }

    pub(crate) const fn start(self) -> usize {
        self.start as usize
    }

    /// Its first bytes.
    pub(crate) const fn first(self, bytes: usize) -> Self {
        Self {
            start: self.start,
            end: self.start + bytes as u32,
        }
    }

    /// This part and the one right behind it.
    pub(crate) const fn joined(self, next: Self) -> Self {
        Self {
            start: self.start,
            end: next.end,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Field {
    id: Name,
    name: Part,
    value: Part,
}

/// One field, borrowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FieldRef<'a> {
    /// Which known name it is.
    pub id: Name,
    /// As received.
    pub name: &'a [u8],
    /// Without the whitespace around it.
    pub value: &'a [u8],
}

/// The fields of a message, in order. Cleared, it keeps its memory.
#[derive(Default, Debug, Clone)]
pub struct Fields {
    /// Names and values; for HTTP/1 the whole head as received, and what was added to it.
    bytes: Vec<u8>,
    list: Vec<Field>,
    present: NameSet,
    /// What `Connection` names: options, and fields.
    options: NameSet,
}

impl Fields {
    /// Forgets all fields.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.list.clear();
        self.present = NameSet::EMPTY;
        self.options = NameSet::EMPTY;
    }

    /// Adds a field at the end. The caller has validated both parts.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let name_part = self.add_bytes(name);
        let value_part = self.add_bytes(value);
        self.index(Name::of(name), name_part, value_part);
    }

    /// The value of the first field of that name.
    #[must_use]
    pub fn get(&self, id: Name) -> Option<&[u8]> {
        self.get_all(id).next()
    }

    /// The values of all fields of that name, in order.
    pub fn get_all(&self, id: Name) -> impl Iterator<Item = &[u8]> {
        let candidates: &[Field] = if self.has(id) { &self.list } else { &[] };
        let same = candidates.iter().filter(move |field| field.id == id);
        same.map(|field| self.part(field.value))
    }

    /// How many fields have that name.
    #[must_use]
    pub fn count(&self, id: Name) -> usize {
        self.get_all(id).count()
    }

    /// Whether a field of that name is there.
    #[must_use]
    pub fn has(&self, id: Name) -> bool {
        self.present.contains(id)
    }

    /// Whether a field of any of these names is there.
    #[must_use]
    pub fn has_any(&self, ids: NameSet) -> bool {
        self.present.except(ids) != self.present
    }

    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All fields, in order.
    pub fn iter(&self) -> impl Iterator<Item = FieldRef<'_>> {
        self.list.iter().map(|field| FieldRef {
            id: field.id,
            name: self.part(field.name),
            value: self.part(field.value),
        })
    }

    /// The end-to-end fields in order, without those of `drop`: not those that are about one
    /// connection, by themselves or because `Connection` names them.
    pub fn end_to_end(&self, drop: NameSet) -> impl Iterator<Item = FieldRef<'_>> {
        let drop = drop.union(NameSet::NEVER_FORWARDED);
        let named = self.options.except(NameSet::OPTIONS);
        self.iter().filter(move |field| {
            let may_be_named = named.contains(field.id);
            let is_named = may_be_named && (field.id != Name::Other || self.names(field.name));
            !drop.contains(field.id) && !is_named
        })
    }

    /// Whether a `Connection` field names this known option or field.
    ///
    /// Source: RFC 9110 section 7.6.1.
    #[must_use]
    pub fn has_option(&self, option: Name) -> bool {
        self.options.contains(option)
    }

    /// The same of any name, in any case of letters.
    fn names(&self, name: &[u8]) -> bool {
        self.connection_options()
            .any(|option| option.eq_ignore_ascii_case(name))
    }

    /// The value of the only `Upgrade` field, where `Connection` names it too and `h2c` is not
    /// among its protocols.
    pub(crate) fn upgrade(&self) -> Option<&[u8]> {
        let mut values = self.get_all(Name::Upgrade);
        let value = values.next().filter(|_| values.next().is_none())?;
        let is_h2c = |protocol: &[u8]| protocol.eq_ignore_ascii_case(b"h2c");
        let is_meant = self.has_option(Name::Upgrade) && !members(value).any(is_h2c);
        is_meant.then_some(value)
    }

    /// What `Connection` fields name. It rarely is a field that is not hop-by-hop by itself.
    pub(crate) fn options(&self) -> NameSet {
        self.options
    }

    /// The members of all `Connection` fields, without empty ones.
    pub(crate) fn connection_options(&self) -> impl Iterator<Item = &[u8]> {
        self.get_all(Name::Connection).flat_map(members)
    }

    /// The bytes of a part; empty for a part of another head.
    pub(crate) fn part(&self, part: Part) -> &[u8] {
        self.bytes
            .get(part.start as usize..part.end as usize)
            .unwrap_or_default()
    }

    /// Takes a copy of a whole head, whose lines are then indexed.
    pub(crate) fn copy_head(&mut self, head: &[u8]) {
        self.clear();
        self.bytes.extend_from_slice(head);
    }

    /// Adds bytes that are no field, for example a host in lower case.
    pub(crate) fn add_bytes(&mut self, bytes: &[u8]) -> Part {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        Part::new(start, self.bytes.len())
    }

    /// Adds a copy of a part, in lower case.
    pub(crate) fn add_lower_case(&mut self, part: Part) -> Part {
        let start = self.bytes.len();
        self.bytes
            .extend_from_within(part.start as usize..part.end as usize);
        self.bytes[start..].make_ascii_lowercase();
        Part::new(start, self.bytes.len())
    }

    /// Adds a field whose bytes are here already.
    pub(crate) fn index(&mut self, id: Name, name: Part, value: Part) {
        self.list.push(Field { id, name, value });
        self.present = self.present.with(id);
        if id == Name::Connection {
            let named = members(self.part(value)).map(Name::of);
            self.options = named.fold(self.options, NameSet::with);
        }
    }

    /// Forgets all fields of that name.
    pub(crate) fn remove(&mut self, id: Name) {
        if self.has(id) {
            self.list.retain(|field| field.id != id);
            self.present = self.present.without(id);
        }
    }

    /// Where the value of the first field of that name lies.
    pub(crate) fn part_of(&self, id: Name) -> Option<Part> {
        self.list
            .iter()
            .find(|field| field.id == id)
            .map(|field| field.value)
    }
}

/// The members of a comma-separated list, trimmed, without empty ones (RFC 9110 section 5.6.1).
pub(crate) fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

/// Whether the bytes are a token (RFC 9110 section 5.6.2).
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(list: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in list {
            fields.push(name.as_bytes(), value.as_bytes());
        }
        fields
    }

    #[test]
    fn fields_keep_their_order_and_spelling() {
        let fields = fields(&[("X-A", "1"), ("hOST", "a"), ("x-a", "2")]);
        let seen: Vec<_> = fields
            .iter()
            .map(|field| (field.name, field.value))
            .collect();
        assert_eq!(
            seen,
            [(&b"X-A"[..], &b"1"[..]), (b"hOST", b"a"), (b"x-a", b"2")]
        );
        assert_eq!(fields.get(Name::Host), Some(&b"a"[..]));
    }

    #[test]
    fn repeated_fields_are_counted_and_the_first_is_got() {
        let fields = fields(&[("Host", "a"), ("Host", "b")]);
        assert_eq!(
            (fields.count(Name::Host), fields.get(Name::Host)),
            (2, Some(&b"a"[..]))
        );
        assert_eq!(fields.get_all(Name::Host).last(), Some(&b"b"[..]));
        assert_eq!(
            (fields.count(Name::Date), fields.get(Name::Date)),
            (0, None)
        );
    }

    #[test]
    fn connection_options_are_read_from_every_connection_field() {
        let fields = fields(&[("Connection", "close, ,X-Hop"), ("connection", "X-Two")]);
        assert!(fields.names(b"x-hop") && fields.names(b"X-TWO") && !fields.names(b"x"));
        assert!(fields.has_option(Name::Close) && !fields.has_option(Name::KeepAlive));
    }

    #[test]
    fn cleared_fields_are_empty_and_keep_their_memory() {
        let mut fields = fields(&[("Connection", "x"), ("Host", "b")]);
        let capacity = fields.bytes.capacity();
        fields.clear();
        assert!(fields.is_empty() && !fields.has(Name::Host) && fields.options() == NameSet::EMPTY);
        assert_eq!(fields.bytes.capacity(), capacity);
    }
}
