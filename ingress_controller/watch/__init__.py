"""Sources of objects: an API server or a directory. They write the cache; one owner reads it."""
