"""What the controller says of itself: events as log lines."""
