"""`aivailable chat`: ask a model through the gateway."""

import sys
from collections.abc import Callable

import click

from aivailable.cli.connection import connect, endpoint, trust_of
from aivailable.cli.stop import require_model
from aivailable.clients.chat import ChatRequest, stream_chat
from aivailable.controller.fleetstore import read_fleet

SYSTEM_MESSAGE = "You are a helpful assistant."
PATIENCE_S = 3.0
"""For the moment between a healthy engine and a gateway that has read its endpoint."""


@click.command("chat")
@click.argument("model")
@click.argument("prompt", required=False)
@click.option("--max-tokens", type=click.IntRange(min=1), default=256, show_default=True, help="Longest answer.")
@click.option("--temperature", type=click.FloatRange(0, 2), help="0 is repeatable; default: the engine's.")
@click.option("--system", default=SYSTEM_MESSAGE, show_default=True, help="System message.")
@click.pass_obj
def command(
    cluster: str | None, model: str, prompt: str | None, max_tokens: int, temperature: float | None, system: str
) -> None:
    """Ask MODEL: PROMPT, or standard input, or line by line on a terminal (Ctrl-D ends)."""
    connection = connect(cluster)
    require_model(read_fleet(connection.registry).fleet, model)
    target = endpoint(connection, model)
    messages = [{"role": "system", "content": system}]

    def ask(text: str) -> None:
        messages.append({"role": "user", "content": text})
        request = ChatRequest(model=model, messages=messages, max_tokens=max_tokens, temperature=temperature)
        answer = ""
        trust = trust_of(connection.settings)
        for piece in stream_chat(target.base_url, target.key, request, patience_s=PATIENCE_S, trust=trust):
            click.echo(piece, nl=False)
            answer += piece
        click.echo()
        messages.append({"role": "assistant", "content": answer})

    if prompt is None and sys.stdin.isatty():
        _converse(ask)
    else:
        ask(prompt if prompt is not None else sys.stdin.read())


def _converse(ask: Callable[[str], None]) -> None:
    while True:
        try:
            text = click.prompt("you", prompt_suffix="> ", err=True)
        except click.Abort:
            click.echo(err=True)
            return
        ask(text)
