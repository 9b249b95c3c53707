"""Spans on their way: out to a tracing backend, and read back as trees of one trace."""
