"""`aivailable usage`: requests and tokens, by key, model or day."""

import json
import time
from collections.abc import Iterable

import click
from rich.table import Table

from aivailable.cli.connection import connect
from aivailable.cli.console import notes, out
from aivailable.gateway.meter import day_of, read_usage
from aivailable.model.usage import Counts, GatewayUsage

SECONDS_PER_DAY = 86_400


@click.command("usage")
@click.option("--by", type=click.Choice(["key", "model", "day"]), default="key", show_default=True)
@click.option("--days", type=click.IntRange(1, 62), default=30, show_default=True, help="So many days back, in UTC.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def command(cluster: str | None, by: str, days: int, *, as_json: bool) -> None:
    """Show how many requests were answered, and their tokens, over all gateways.

    Cached tokens are part of the prompt's. Unknown are answers that told no usage; their tokens are not guessed.
    """
    since = day_of(time.time() - (days - 1) * SECONDS_PER_DAY)
    found = summed(read_usage(connect(cluster).registry).values(), by, since)
    if as_json:
        documents = [
            {
                by: name,
                "requests": counts.requests,
                "prompt_tokens": counts.prompt,
                "completion_tokens": counts.completion,
                "cached_tokens": counts.cached,
                "unknown": counts.unknown,
            }
            for name, counts in found.items()
        ]
        click.echo(json.dumps(documents, indent=2))
        return
    if not found:
        notes.print(f"no request was answered since {since}")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column(by.capitalize(), overflow="fold")
    for name in ("Requests", "Prompt", "Answer", "Cached", "Unknown"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, counts in found.items():
        numbers = (counts.requests, counts.prompt, counts.completion, counts.cached, counts.unknown)
        table.add_row(name, *(f"{number:,}" for number in numbers))
    out.print(table)


def summed(usages: Iterable[GatewayUsage], by: str, since: str) -> dict[str, Counts]:
    """The counts from day `since` on, by key, model or day, in order of their names."""
    found: dict[str, Counts] = {}
    for usage in usages:
        for day, keys in usage.days.items():
            if day < since:
                continue
            for key, models in keys.items():
                for model, counts in models.items():
                    name = {"key": key, "model": model, "day": day}[by]
                    found[name] = found.get(name, Counts()) + counts
    return dict(sorted(found.items()))
