"""Who asks, and whether it may: the API server says so, and its answers hold for some seconds."""
