"""HCL string literals that nothing gets out of."""

import json

from aivailable.errors import UserError
from aivailable.model.names import unsafe_in_job

_END = "EOT"


def hcl_string(text: str) -> str:
    """`text` as a quoted HCL string literal.

    JSON's escapes of quotes and backslashes are HCL's too. What would still be interpolated by Nomad's client after
    quoting is refused, here once more, whatever way it came.

    Raises:
        UserError: The text holds `${`, `%{` or control characters.
    """
    if why := unsafe_in_job(text):
        raise UserError(f"{text!r} may not reach a Nomad job: {why}", hint="remove it from the fleet file")
    return json.dumps(text, ensure_ascii=False)


def hcl_heredoc(text: str) -> str:
    """`text` of several lines as an HCL heredoc, which holds what Nomad's templates are for and nothing for HCL.

    Raises:
        UserError: The text holds `${`, `%{`, or a line that would end it.
    """
    if "${" in text or "%{" in text or _END in text.split("\n"):
        raise UserError("a text may not reach a Nomad job: it holds ${, %{ or a line EOT", hint="remove it there")
    return f"<<{_END}\n{text.rstrip(chr(10))}\n{_END}"


def duration(seconds: float) -> str:
    """Seconds as a Go duration, to the millisecond."""
    return f"{round(seconds * 1000)}ms" if seconds % 1 else f"{int(seconds)}s"
