//! `proxy._engine`: the engine for Python. This crate translates and decides nothing.

use pyo3::pymodule;

#[pymodule]
mod _engine {}
