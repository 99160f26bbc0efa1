"""The reader of hops, beside what Erlang itself makes of the same files."""
