"""The HTTP servers of this process: bounded, and with terms that may change while they serve."""
