"""The two streams: data on stdout, progress and notes on stderr. Rich honours NO_COLOR and missing terminals."""

from rich.console import Console

out = Console(highlight=False, soft_wrap=False)
notes = Console(stderr=True, highlight=False)
