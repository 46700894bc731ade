"""The two streams: data on stdout, progress and notes on stderr. Rich honours NO_COLOR and missing terminals."""

import sys

from rich.console import Console

PIPE_WIDTH = 120
"""Columns where there is no terminal to ask: wide enough that nothing folds."""

out = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
notes = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else PIPE_WIDTH)
