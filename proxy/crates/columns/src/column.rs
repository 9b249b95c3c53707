//! One column that is being filled, row after row; rows that it says nothing of are null.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::builder::{
    BooleanBuilder, Int64Builder, StringBuilder, StringDictionaryBuilder, UInt64Builder,
};
use arrow_array::types::Int32Type;

use crate::TEXT_BYTES_MAX;
use crate::schema::Kind;

pub(crate) struct Column {
    cells: Cells,
    /// Rows in `cells`; those up to the table's own count are null, and added when needed.
    rows: usize,
}

enum Cells {
    Name(StringDictionaryBuilder<Int32Type>),
    Text(StringBuilder),
    Int(Int64Builder),
    Id(UInt64Builder),
    Bool(BooleanBuilder),
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
            Kind::Name => Cells::Name(StringDictionaryBuilder::new()),
            Kind::Text => Cells::Text(StringBuilder::new()),
            Kind::Int => Cells::Int(Int64Builder::new()),
            Kind::Id => Cells::Id(UInt64Builder::new()),
            Kind::Bool => Cells::Bool(BooleanBuilder::new()),
        };
        Self { cells, rows: 0 }
    }

    /// Says `cell` of the row with this index; false if it is of another type, or if the row has
    /// its value already. Rows come in order.
    pub(crate) fn set(&mut self, row: usize, cell: Cell<'_>) -> bool {
        if self.rows > row {
            return false;
        }
        let is_ours = matches!(
            (&self.cells, cell),
            (Cells::Name(_) | Cells::Text(_), Cell::Text(_))
                | (Cells::Int(_), Cell::Int(_))
                | (Cells::Id(_), Cell::Id(_))
                | (Cells::Bool(_), Cell::Bool(_))
        );
        if is_ours {
            self.fill(row);
            self.append(cell);
        }
        is_ours
    }

    fn append(&mut self, cell: Cell<'_>) {
        self.rows += 1;
        match (&mut self.cells, cell) {
            (Cells::Name(cells), Cell::Text(text)) => cells.append_value(cut(text)),
            (Cells::Text(cells), Cell::Text(text)) => cells.append_value(cut(text)),
            (Cells::Int(cells), Cell::Int(number)) => cells.append_value(number),
            (Cells::Id(cells), Cell::Id(id)) => cells.append_value(id),
            (Cells::Bool(cells), Cell::Bool(is)) => cells.append_value(is),
            _ => debug_assert!(false, "the type is checked before"),
        }
    }

    fn fill(&mut self, rows: usize) {
        let missing = rows - self.rows;
        self.rows = rows;
        match &mut self.cells {
            Cells::Name(cells) => cells.append_nulls(missing),
            Cells::Text(cells) => cells.append_nulls(missing),
            Cells::Int(cells) => cells.append_nulls(missing),
            Cells::Id(cells) => cells.append_nulls(missing),
            Cells::Bool(cells) => cells.append_nulls(missing),
        }
    }

    /// Its `rows` rows; afterwards it is empty.
    pub(crate) fn take(&mut self, rows: usize) -> ArrayRef {
        self.fill(rows);
        self.rows = 0;
        match &mut self.cells {
            Cells::Name(cells) => Arc::new(cells.finish()),
            Cells::Text(cells) => Arc::new(cells.finish()),
            Cells::Int(cells) => Arc::new(cells.finish()),
            Cells::Id(cells) => Arc::new(cells.finish()),
            Cells::Bool(cells) => Arc::new(cells.finish()),
        }
    }
}

/// At most [`TEXT_BYTES_MAX`] bytes, whole characters.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
