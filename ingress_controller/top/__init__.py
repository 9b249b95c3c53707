"""`spanway top`: live requests in a terminal, or as a plain table."""
