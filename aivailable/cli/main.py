"""`aivailable`: the verbs, loaded only when asked for, and the one place where errors become exit codes."""

import importlib
import os
import sys
from collections.abc import Sequence

import click

from aivailable.errors import AivailableError, UserError

VERBS = {
    "demo": "a simulated rack on this machine: real engine, real Envoy, one answer",
    "plan": "what would happen, and why",
    "deploy": "make the fleet equal a file, or add one model",
    "fleet": "print the present fleet as a file",
    "stop": "remove a model from the fleet",
    "status": "what runs where, how it is, and why",
    "nodes": "the rack, card by card",
    "explain": "every card's answer for one model",
    "events": "what happened, and what was decided",
    "logs": "what a model's engines print",
    "chat": "ask a model through the gateway",
    "fit": "does this model run on that card, and what would it take",
    "render": "the Nomad jobs of a fleet file, without registering them",
    "fetch": "bring and verify model files",
    "keys": "make, list, revoke, rotate and reissue API keys",
    "usage": "requests and tokens by key, model or day",
    "up": "start AIvailable itself on a real cluster",
    "down": "stop it; fleet and keys stay",
    "drain": "move a node's work off it, so that it may be switched off",
    "undrain": "let a node take work again",
    "controller": "the loop; a Nomad job runs it",
    "gateway": "an Envoy and its feeder; a Nomad job runs it",
    "doctor": "what this machine has and what is missing",
}
"""Every verb with its short help; the module of the same name in `cli/` holds the command."""


OF_EXTRAS = {
    "psutil": "demo",
    "xllamacpp": "demo",
    "prometheus_client": "cluster",
    "starlette": "cluster",
    "uvicorn": "cluster",
}
"""Modules that only an extra installs; the verb `demo` has all of its own in the extra of that name."""


class _Verbs(click.Group):
    """Imports a verb's module when the verb is used, so that `--help` needs none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in VERBS:
            return None
        try:
            command: click.Command = importlib.import_module(f"aivailable.cli.{cmd_name}").command
        except ModuleNotFoundError as error:
            if error.name not in OF_EXTRAS:
                raise
            raise UserError(
                f"aivailable {cmd_name} needs {error.name}, which is not installed",
                hint=f"pip install 'aivailable[{'demo' if cmd_name == 'demo' else OF_EXTRAS[error.name]}]'",
            ) from error
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


WELCOME = """\
AIvailable turns a rack of mixed GPUs into one OpenAI-compatible endpoint.

New here? These need no GPU and no cluster:
  aivailable demo      a simulated rack, a real engine, one answer; stays up
  aivailable doctor    what this machine has and what is missing

With a rack that is up (the demo's, too):
  aivailable status    what runs where, how it is, and why
  aivailable deploy    bring a model: a fleet file, or a .gguf file
  aivailable chat      ask it

aivailable --help lists every command.
"""


def _print_versions(ctx: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's own form
    if not value or ctx.resilient_parsing:
        return
    versions = importlib.import_module("aivailable.versions")
    click.echo(f"aivailable {versions.own_version()}")
    for part in versions.find_parts():
        click.echo(f"  {part.name:10} {part.version or '-':22} {part.where}")
    ctx.exit()


@click.group(cls=_Verbs, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--cluster",
    metavar="nomad|embedded[:DIR]",
    help="Which cluster to speak to; default: nomad where NOMAD_ADDR is set or an agent answers, else embedded.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_versions,
    help="Show the versions of AIvailable and of the parts it finds.",
)
@click.pass_context
def command(ctx: click.Context, cluster: str | None) -> None:
    """Turn a rack of mixed GPUs into one OpenAI-compatible endpoint."""
    ctx.obj = cluster
    if ctx.invoked_subcommand is None:
        click.echo(WELCOME, nl=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 the user must change something, 3 gave up watching."""
    try:
        command.main(arguments, prog_name="aivailable", standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.Abort:
        click.echo("\naborted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except AivailableError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
