"""The trace store: spans on this machine, bounded in bytes and age, and questions about them."""
