//! The wire form of protobuf, read in place.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>.

/// Bytes that are no message of the kind that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is no ExportTraceServiceRequest in protobuf: {0}")]
pub struct MalformedError(pub(crate) &'static str);

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    /// Text, bytes or a message.
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    pub(crate) fn bytes(self) -> Result<&'a [u8], MalformedError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(MalformedError(
                "a field has another type than it should have",
            )),
        }
    }

    pub(crate) fn text(self) -> Result<&'a str, MalformedError> {
        text(self.bytes()?)
    }

    pub(crate) fn number(self) -> Result<u64, MalformedError> {
        match self {
            Self::Varint(number) | Self::Fixed64(number) => Ok(number),
            Self::Fixed32(number) => Ok(u64::from(number)),
            Self::Bytes(_) => Err(MalformedError(
                "a field has another type than it should have",
            )),
        }
    }
}

/// Bytes that must be text.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, MalformedError> {
    std::str::from_utf8(bytes).map_err(|_| MalformedError("a text is not UTF-8"))
}

/// The fields of a message, in their order; it ends after the first error.
pub(crate) struct Fields<'a>(&'a [u8]);

/// The fields of `message`.
pub(crate) fn fields(message: &[u8]) -> Fields<'_> {
    Fields(message)
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), MalformedError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    #[inline]
    fn field(&mut self) -> Result<(u64, Value<'a>), MalformedError> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(MalformedError("a field is of a type that there is not")),
        };
        match tag >> 3 {
            0 => Err(MalformedError("a field has the number 0")),
            number => Ok((number, value)),
        }
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, MalformedError> {
        match self.0 {
            [byte @ ..0x80, rest @ ..] => {
                self.0 = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, MalformedError> {
        let mut number = 0;
        for (index, byte) in self.0.iter().enumerate().take(10) {
            number |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.0 = &self.0[index + 1..];
                return Ok(number);
            }
        }
        Err(MalformedError("a number does not end"))
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], MalformedError> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(MalformedError("it ends within a field"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], MalformedError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }
}
