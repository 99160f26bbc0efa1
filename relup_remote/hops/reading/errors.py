"""What is wrong with a file, and where."""


class ReadError(Exception):
    """The text is no Erlang, or not what is looked for. ``line`` and ``column`` count from 1."""

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(f"line {line}, column {column}: {message}")
        self.line = line
        self.column = column
        self.message = message
