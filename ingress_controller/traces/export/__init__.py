"""Spans on their way out: URL → destination → one exporter each, beside one another."""
