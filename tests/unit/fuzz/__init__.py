"""What comes from outside, in any shape: each reader gives a value or the error that it names, in bounded time."""
