"""Draws docs/demo.svg: what `aivailable demo` prints on a terminal. Run it again when that changes.

`python tools/picture.py docs/demo.svg`
"""

import os
import pty
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLUMNS = 100


def main() -> None:
    """Run the demo once on a pseudo-terminal and save its screen as an SVG file."""
    target = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as state:
        printed = _on_a_terminal([str(Path(sys.executable).parent / "aivailable"), "demo", "--once"], state)
    console = Console(record=True, width=COLUMNS, file=Path(os.devnull).open("w"))  # noqa: SIM115 - ends with us
    console.print(Text.from_ansi(_last_frames(printed)))
    svg = console.export_svg(title="make demo ONCE=1")
    target.write_text(re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL))


def _on_a_terminal(command: list[str], state: str) -> str:
    leader, follower = pty.openpty()
    environment = {
        **os.environ,
        "AIVAILABLE_STATE": state,
        "TERM": "xterm-256color",
        "COLUMNS": str(COLUMNS),
        "LINES": "60",
    }
    process = subprocess.Popen(command, stdout=follower, stderr=follower, stdin=follower, env=environment)
    os.close(follower)
    text = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:  # Linux ends a pseudo-terminal with EIO
            break
        if not piece:
            break
        text += piece
    process.wait(60)
    return text.decode()


def _last_frames(text: str) -> str:
    """Apply what a live display does: move up, clear the line, write again; and drop other control sequences."""
    screen: list[str] = []
    row = 0
    for part in re.split(r"(\x1b\[1A|\x1b\[2K|\r\n|\r|\n)", text.replace("\x1b[?25l", "").replace("\x1b[?25h", "")):
        if part == "\x1b[1A":
            row -= 1
        elif part in {"\r\n", "\n"}:
            row += 1
        elif part == "\x1b[2K":
            screen[row : row + 1] = [""]
        elif part != "\r":
            while len(screen) <= row:
                screen.append("")
            screen[row] += part
    return "\n".join(screen)


if __name__ == "__main__":
    main()
