"""What of the picture a key may see."""

from dataclasses import replace

from aivailable.controller.history import Happened
from aivailable.controller.picture import picture
from aivailable.model.service import ApiKey
from aivailable.page.rights import SOMEBODY_ELSES, seen_by
from aivailable.placement import plan
from tests.controller.test_picture import running, shown
from tests.samples import EIGHT_B, fleet, model, rack


def test_a_key_of_some_models_sees_no_names_of_others() -> None:
    decisions = [
        Happened(at_s=float(number), about=about, text=f"of {about}")
        for number, about in enumerate(("a #0", "b #0", "node1", "aivailable-gateway"))
    ]
    everything = shown(running(), decisions=decisions)
    found = seen_by(everything, ApiKey(id="k", secret="s", models=("a",)))

    assert [m.name for m in found.models] == ["a"]
    tenants = [t for n in found.nodes for c in n.cards for t in c.tenants]
    assert sorted(t.model for t in tenants) == ["a", "a", SOMEBODY_ELSES]
    assert sum(t.claim_mib for t in tenants) == sum(
        t.claim_mib for n in everything.nodes for c in n.cards for t in c.tenants
    )
    assert [d.about for d in found.decisions] == ["node1", "a #0"]
    assert "b" not in {*(m.name for m in found.models), *(t.model for t in tenants)}
    assert seen_by(everything, ApiKey(id="k", secret="s")) is everything


def test_what_a_key_may_not_use_is_not_named_in_the_reasons_of_what_it_may() -> None:
    """What would help a model without a place may be that another one stops."""
    wanted = fleet(model("own", profile=EIGHT_B, replicas=3), model("secret", priority=40))
    empty = rack()
    everything = picture(wanted, empty, plan(wanted, empty), at_s=1.0, decisions=DECISIONS)
    own = next(m for m in everything.models if m.name == "own")
    told = replace(
        own, missing=(*own.missing, "would help: stopping secret replica 1", "1 later: secrets-2 goes first")
    )
    everything = replace(everything, models=(told, *(m for m in everything.models if m.name != "own")))

    (found,) = seen_by(everything, ApiKey(id="k", secret="s", models=("own",))).models

    assert own.missing
    assert found.missing == (*own.missing, "1 later: secrets-2 goes first")
    kept = seen_by(everything, ApiKey(id="k", secret="s", models=("own",))).decisions
    assert [entry.text for entry in kept] == ["stays"]


DECISIONS = (
    Happened(at_s=1.0, about="own #0", text="makes room for secret replica 0"),
    Happened(at_s=2.0, about="own #0", text="stays"),
)
