"""One error tree, by what the caller must do.

    AivailableError
    ├── UserError        the user must change something (exit code 2)
    ├── RetryableError   the same call may work later: back off and try again
    └── PermanentError   neither waiting nor asking again helps (exit code 1)
        └── GaveUpError  a deadline passed while watching; the work itself goes on (exit code 3)

Every error is a message that says what and where, and a hint that says what to do.
"""


class AivailableError(Exception):
    """Root of all errors AIvailable raises on purpose.

    Args:
        message: What went wrong and where.
        hint: What to do about it; shown on a line of its own.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """Message, blank line, `hint:`."""
        return f"{self.message}\n\nhint: {self.hint}" if self.hint else self.message


class UserError(AivailableError):
    """The user must change something: a file, a flag, a name. Nothing was changed."""

    exit_code = 2


class RetryableError(AivailableError):
    """The same call may succeed later (a busy store, a starting server)."""


class PermanentError(AivailableError):
    """Trying again does not help and the user made no mistake (a crashed engine, a broken file)."""


class GaveUpError(PermanentError):
    """The deadline of a watch passed. What was watched goes on."""

    exit_code = 3
