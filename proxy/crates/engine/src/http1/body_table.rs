//! The chunked coding as a table: state x class of byte -> state (RFC 9112 section 7.1).
//!
//! ```text
//! chunked-body = *chunk last-chunk trailer-section CRLF
//! chunk        = chunk-size [ chunk-ext ] CRLF chunk-data CRLF
//! chunk-ext    = *( ";" chunk-ext-name [ "=" chunk-ext-val ] )
//! ```
//! The RFC's "bad whitespace" around extensions is left out: nobody sends it but those who hope
//! that one recipient reads a number past it and another does not.

use super::Malformed;

/// Where the decoder is. Data is copied in runs; in every other state one byte is one step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum State {
    /// Before the first digit of a chunk size.
    SizeStart,
    Size,
    /// After the CR of the size line.
    SizeLf,
    ExtensionStart,
    ExtensionName,
    ExtensionValueStart,
    ExtensionValue,
    ExtensionQuoted,
    ExtensionEscape,
    ExtensionQuotedEnd,
    /// After the data of a chunk.
    DataCr,
    DataLf,
    /// At the start of a line of the trailer, also the empty one that ends the body.
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    // The table has rows for the states above; those below are reached from it.
    /// In the data of a chunk; a chunk of size 0 has the trailer instead.
    Data,
    /// In a body with a length.
    Length,
    /// In a body that ends with the connection.
    UntilClose,
    Done,
    Refused,
}

const TABLE_STATES: usize = State::EndLf as usize + 1;
const CLASSES: usize = 12;

/// What the grammar tells bytes apart by.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Class {
    /// Hex digits, which are token characters too.
    Hex,
    /// Other token characters (RFC 9110 section 5.6.2).
    Token,
    Cr,
    Lf,
    Semicolon,
    Equals,
    Quote,
    Backslash,
    Colon,
    /// Space and tab.
    Blank,
    /// What is left of visible ASCII, and bytes above 127.
    Text,
    Control,
}

const CLASS_OF: [Class; 256] = {
    let mut classes = [Class::Control; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = class_of(byte as u8);
        byte += 1;
    }
    classes
};

const fn class_of(byte: u8) -> Class {
    match byte {
        b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F' => Class::Hex,
        b'g'..=b'z'
        | b'G'..=b'Z'
        | b'!'
        | b'#'
        | b'$'
        | b'%'
        | b'&'
        | b'\''
        | b'*'
        | b'+'
        | b'-'
        | b'.'
        | b'^'
        | b'_'
        | b'`'
        | b'|'
        | b'~' => Class::Token,
        b'\r' => Class::Cr,
        b'\n' => Class::Lf,
        b';' => Class::Semicolon,
        b'=' => Class::Equals,
        b'"' => Class::Quote,
        b'\\' => Class::Backslash,
        b':' => Class::Colon,
        b' ' | b'\t' => Class::Blank,
        0..=31 | 127 => Class::Control,
        _ => Class::Text,
    }
}

#[rustfmt::skip]
const NEXT: [[State; CLASSES]; TABLE_STATES] = {
    use State::{
        Data, DataLf as DaLf, Done, EndLf as EnLf, ExtensionEscape as Escp, ExtensionName as ExNm,
        ExtensionQuoted as Quot, ExtensionQuotedEnd as QuEd, ExtensionStart as ExSt,
        ExtensionValue as ExVl, ExtensionValueStart as VlSt, Refused as No__, Size, SizeLf as SzLf,
        SizeStart as SzSt, TrailerLf as TrLf, TrailerName as TrNm, TrailerStart as TrSt,
        TrailerValue as TrVl,
    };
    [
        //                  hex   tokn  CR    LF    ;     =     "     \     :     blnk  text  ctl
        /* SizeStart    */ [Size, No__, No__, No__, No__, No__, No__, No__, No__, No__, No__, No__],
        /* Size         */ [Size, No__, SzLf, No__, ExSt, No__, No__, No__, No__, No__, No__, No__],
        /* SizeLf       */ [No__, No__, No__, Data, No__, No__, No__, No__, No__, No__, No__, No__],
        /* ExtStart     */ [ExNm, ExNm, No__, No__, No__, No__, No__, No__, No__, No__, No__, No__],
        /* ExtName      */ [ExNm, ExNm, SzLf, No__, ExSt, VlSt, No__, No__, No__, No__, No__, No__],
        /* ExtValueStart*/ [ExVl, ExVl, No__, No__, No__, No__, Quot, No__, No__, No__, No__, No__],
        /* ExtValue     */ [ExVl, ExVl, SzLf, No__, ExSt, No__, No__, No__, No__, No__, No__, No__],
        /* ExtQuoted    */ [Quot, Quot, No__, No__, Quot, Quot, QuEd, Escp, Quot, Quot, Quot, No__],
        /* ExtEscape    */ [Quot, Quot, No__, No__, Quot, Quot, Quot, Quot, Quot, Quot, Quot, No__],
        /* ExtQuotedEnd */ [No__, No__, SzLf, No__, ExSt, No__, No__, No__, No__, No__, No__, No__],
        /* DataCr       */ [No__, No__, DaLf, No__, No__, No__, No__, No__, No__, No__, No__, No__],
        /* DataLf       */ [No__, No__, No__, SzSt, No__, No__, No__, No__, No__, No__, No__, No__],
        /* TrailerStart */ [TrNm, TrNm, EnLf, No__, No__, No__, No__, No__, No__, No__, No__, No__],
        /* TrailerName  */ [TrNm, TrNm, No__, No__, No__, No__, No__, No__, TrVl, No__, No__, No__],
        /* TrailerValue */ [TrVl, TrVl, TrLf, No__, TrVl, TrVl, TrVl, TrVl, TrVl, TrVl, TrVl, No__],
        /* TrailerLf    */ [No__, No__, No__, TrSt, No__, No__, No__, No__, No__, No__, No__, No__],
        /* EndLf        */ [No__, No__, No__, Done, No__, No__, No__, No__, No__, No__, No__, No__],
    ]
};

/// The state after `byte`; [`State::Refused`] from the states that have no row.
pub(super) fn next(state: State, byte: u8) -> State {
    let row = NEXT.get(state as usize);
    row.map_or(State::Refused, |row| row[CLASS_OF[byte as usize] as usize])
}

/// The rule that a byte broke which was refused in `state`.
pub(super) const fn fault(state: State) -> Malformed {
    match state {
        State::SizeStart | State::Size | State::SizeLf => Malformed::ChunkSize,
        State::DataCr | State::DataLf => Malformed::ChunkEnd,
        State::TrailerStart
        | State::TrailerName
        | State::TrailerValue
        | State::TrailerLf
        | State::EndLf => Malformed::Trailer,
        _ => Malformed::ChunkExtension,
    }
}
