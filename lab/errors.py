"""How the lab says that it can't."""


class LabError(Exception):
    """A refusal or failure of the lab.

    ``err_type`` is a stable word for programs, ``message`` one sentence for people, ``hint`` what to do next.
    """

    def __init__(self, err_type: str, message: str, hint: str) -> None:
        super().__init__(f"{message}\n{hint}")
        self.err_type = err_type
        self.message = message
        self.hint = hint
