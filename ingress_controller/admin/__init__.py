"""The admin server: what a person or a probe may ask of a running Spanway."""
