//! One column that is being filled, row after row; rows that it says nothing of are null.
//!
//! What is said is kept one after the other, with a bit for each row that has some, and is put into its
//! rows when the column is taken: most columns are null in most rows.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::types::{ArrowPrimitiveType, Int32Type, Int64Type, UInt64Type};
use arrow_array::{ArrayRef, BooleanArray, DictionaryArray, PrimitiveArray, StringArray};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow_schema::ArrowError;

use crate::any::Any;
use crate::schema::Kind;
use crate::{NUMBER_MAX, TEXT_BYTES_MAX};

pub(crate) struct Column {
    cells: Cells,
    /// A bit for each row, the lowest first; those that are missing are 0.
    rows: Vec<u8>,
}

/// What is said, in the order of rows.
enum Cells {
    Name(Vec<i32>, Names),
    Text(Texts),
    Int(Vec<i64>),
    Id(Vec<u64>),
    Bool(Vec<bool>),
}

/// What a row says in a column.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cell<'a> {
    Text(&'a str),
    Int(i64),
    Id(u64),
    Bool(bool),
}

impl Column {
    pub(crate) fn new(kind: Kind) -> Self {
        let cells = match kind {
            Kind::Name => Cells::Name(Vec::new(), Names::default()),
            Kind::Text => Cells::Text(Texts::default()),
            Kind::Int => Cells::Int(Vec::new()),
            Kind::Id => Cells::Id(Vec::new()),
            Kind::Bool => Cells::Bool(Vec::new()),
        };
        Self {
            cells,
            rows: Vec::new(),
        }
    }

    /// Says the value of an attribute; as [`Column::set`].
    pub(crate) fn set_any(&mut self, row: usize, value: &Any<'_>) -> bool {
        let cell = match *value {
            Any::Text(text) => Cell::Text(text),
            Any::Bool(is) => Cell::Bool(is),
            Any::Int(number) if (0..=NUMBER_MAX).contains(&number) => Cell::Int(number),
            Any::Int(_) | Any::Other(_) => return false,
        };
        self.set(row, cell)
    }

    /// Says `cell` of the row with this index; false if it is of another type, or if the row has
    /// its value already. Rows come in order.
    pub(crate) fn set(&mut self, row: usize, cell: Cell<'_>) -> bool {
        let (byte, bit) = (row / 8, 1 << (row % 8));
        if self.rows.len() <= byte {
            self.rows.resize(byte + 1, 0);
        } else if self.rows[byte] & bit != 0 {
            return false;
        }
        match (&mut self.cells, cell) {
            (Cells::Name(keys, names), Cell::Text(text)) => keys.push(names.key(cut(text))),
            (Cells::Text(texts), Cell::Text(text)) => texts.push(cut(text)),
            (Cells::Int(numbers), Cell::Int(number)) => numbers.push(number),
            (Cells::Id(ids), Cell::Id(id)) => ids.push(id),
            (Cells::Bool(all), Cell::Bool(is)) => all.push(is),
            _ => return false,
        }
        self.rows[byte] |= bit;
        true
    }

    /// Its first `rows` rows, which are all; afterwards it is empty.
    ///
    /// # Errors
    /// What it is made of does not fit together: a bug.
    pub(crate) fn take(&mut self, rows: usize) -> Result<ArrayRef, ArrowError> {
        let mut said = std::mem::take(&mut self.rows);
        said.resize(rows.div_ceil(8), 0);
        let said = NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(said), 0, rows));
        let said = Some(&said).filter(|said| said.null_count() > 0);
        Ok(match &mut self.cells {
            Cells::Int(numbers) => Arc::new(primitive::<Int64Type>(numbers, said)?),
            Cells::Id(ids) => Arc::new(primitive::<UInt64Type>(ids, said)?),
            Cells::Bool(all) => {
                let all = BooleanBuffer::from(in_rows(all, said));
                Arc::new(BooleanArray::new(all, said.cloned()))
            }
            Cells::Name(keys, names) => {
                let keys = primitive::<Int32Type>(keys, said)?;
                Arc::new(DictionaryArray::try_new(keys, Arc::new(names.take()))?)
            }
            Cells::Text(texts) => Arc::new(texts.take(rows, said)),
        })
    }
}

fn primitive<T: ArrowPrimitiveType>(
    cells: &mut Vec<T::Native>,
    said: Option<&NullBuffer>,
) -> Result<PrimitiveArray<T>, ArrowError> {
    PrimitiveArray::try_new(in_rows(cells, said).into(), said.cloned())
}

/// Each cell in its row, and something in those that have none.
fn in_rows<T: Copy + Default>(cells: &mut Vec<T>, said: Option<&NullBuffer>) -> Vec<T> {
    let cells = std::mem::take(cells);
    let Some(said) = said else {
        return cells;
    };
    let mut all = vec![T::default(); said.len()];
    for (row, cell) in said.valid_indices().zip(cells) {
        all[row] = cell;
    }
    all
}

/// Texts that come again and again, each once.
#[derive(Default)]
struct Names {
    keys: HashMap<Arc<str>, usize>,
    all: Vec<Arc<str>>,
    /// The latest one: many columns have the same in many rows.
    latest: usize,
}

impl Names {
    fn key(&mut self, text: &str) -> i32 {
        if self.all.get(self.latest).is_none_or(|it| **it != *text) {
            self.latest = self.place(text);
        }
        i32::try_from(self.latest).unwrap_or(i32::MAX) // There is not memory for that many rows.
    }

    fn place(&mut self, text: &str) -> usize {
        if let Some(place) = self.keys.get(text) {
            return *place;
        }
        let text: Arc<str> = text.into();
        self.all.push(Arc::clone(&text));
        self.keys.insert(text, self.all.len() - 1);
        self.all.len() - 1
    }

    fn take(&mut self) -> StringArray {
        StringArray::from_iter_values(std::mem::take(self).all)
    }
}

/// Texts that hardly repeat, one behind the other.
#[derive(Default)]
struct Texts {
    all: String,
    ends: Vec<usize>,
}

impl Texts {
    fn push(&mut self, text: &str) {
        self.all.push_str(text);
        self.ends.push(self.all.len());
    }

    fn take(&mut self, rows: usize, said: Option<&NullBuffer>) -> StringArray {
        let Self { all, ends } = std::mem::take(self);
        let mut built = StringBuilder::with_capacity(rows, all.len());
        let (mut start, mut ends) = (0, ends.into_iter());
        for row in 0..rows {
            if said.is_none_or(|said| said.is_valid(row))
                && let Some(end) = ends.next()
            {
                built.append_value(&all[start..end]);
                start = end;
            } else {
                built.append_null();
            }
        }
        built.finish()
    }
}

/// At most [`TEXT_BYTES_MAX`] bytes, whole characters.
fn cut(text: &str) -> &str {
    if text.len() <= TEXT_BYTES_MAX {
        return text;
    }
    let mut end = TEXT_BYTES_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    use arrow_array::cast::AsArray;
    use arrow_array::{Array, StringArray};

    fn texts(array: &ArrayRef) -> Vec<Option<&str>> {
        array
            .as_dictionary::<Int32Type>()
            .downcast_dict::<StringArray>()
            .unwrap()
            .into_iter()
            .collect()
    }

    #[test]
    fn rows_have_what_was_said_of_them_and_the_others_are_null() {
        let mut column = Column::new(Kind::Name);
        for (row, text) in [(2, "a"), (3, "b"), (9, "a")] {
            assert!(column.set(row, Cell::Text(text)));
        }
        let mut said = vec![None; 11];
        (said[2], said[3], said[9]) = (Some("a"), Some("b"), Some("a"));
        assert_eq!(texts(&column.take(11).unwrap()), said);
    }

    #[test]
    fn taken_column_begins_anew() {
        let mut column = Column::new(Kind::Name);
        column.set(0, Cell::Text("a"));
        column.take(2).unwrap();
        column.set(1, Cell::Text("b"));
        assert_eq!(texts(&column.take(2).unwrap()), [None, Some("b")]);
    }

    #[test]
    fn text_of_any_row_is_its_own() {
        let mut column = Column::new(Kind::Text);
        column.set(1, Cell::Text("one"));
        column.set(2, Cell::Text(""));
        column.set(4, Cell::Text("four"));
        let taken = column.take(6).unwrap();
        let taken: Vec<_> = taken.as_string::<i32>().iter().collect();
        assert_eq!(
            taken,
            [None, Some("one"), Some(""), None, Some("four"), None]
        );
    }

    #[test]
    fn full_column_needs_no_nulls() {
        let mut column = Column::new(Kind::Int);
        column.set(0, Cell::Int(7));
        column.set(1, Cell::Int(-1));
        let taken = column.take(2).unwrap();
        assert_eq!(taken.as_primitive::<Int64Type>().values(), &[7, -1]);
        assert!(taken.nulls().is_none());
    }

    #[test]
    fn other_type_or_second_value_is_refused_and_changes_nothing() {
        let mut column = Column::new(Kind::Int);
        assert!(!column.set(0, Cell::Text("7")));
        assert!(column.set(1, Cell::Int(1)));
        assert!(!column.set(1, Cell::Int(2)));
        let taken = column.take(2).unwrap();
        let taken: Vec<_> = taken.as_primitive::<Int64Type>().iter().collect();
        assert_eq!(taken, [None, Some(1)]);
    }
}
