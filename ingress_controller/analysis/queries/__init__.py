"""Every question that reports ask of the store: the only SQL of this package.

Rules: blocking, for a thread. Functions of a connection whose view `spans` has the columns of
`proxy/crates/columns/src/schema.rs`. What a person asks for is a parameter, never a part of a
statement; what is put into one is a constant of these files. Every answer is bounded.
"""
