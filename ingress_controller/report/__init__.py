"""`spanway report`: the reports of `analysis` in a terminal, from a running Spanway."""
