"""What of the picture a key may see: its own models by name, of others only how much memory they hold. Pure."""

import re
from collections.abc import Collection
from dataclasses import replace

from aivailable.controller.picture import NodePicture, Picture, Tenant
from aivailable.model.names import slug
from aivailable.model.service import ApiKey

SOMEBODY_ELSES = "another model"
"""The name that a key sees in place of a model it may not use."""


def seen_by(shown: Picture, key: ApiKey) -> Picture:
    """The picture as a key may see it: models that it may not use have no names and no words, their memory stays."""
    if not key.models:
        return shown
    own = {model.name for model in shown.models if key.may_use(model.name)}
    about = own | {slug(name) for name in own} | {node.name for node in shown.nodes}
    others = {name for model in shown.models if model.name not in own for name in (model.name, slug(model.name))}
    tells = re.compile("|".join(rf"(?<![\w.:/-]){re.escape(name)}(?![\w/-])" for name in others) or r"(?!)")
    return replace(
        shown,
        nodes=tuple(_without_names(node, own) for node in shown.nodes),
        models=tuple(
            replace(model, missing=tuple(words for words in model.missing if not tells.search(words)))
            for model in shown.models
            if model.name in own
        ),
        decisions=tuple(
            entry
            for entry in shown.decisions
            if entry.about.partition(" #")[0] in about and not tells.search(entry.text)
        ),
    )


def _without_names(node: NodePicture, own: Collection[str]) -> NodePicture:
    def tenant(known: Tenant) -> Tenant:
        return known if known.model in own else replace(known, model=SOMEBODY_ELSES, replica=0, note="")

    cards = (replace(card, tenants=tuple(map(tenant, card.tenants))) for card in node.cards)
    return replace(node, cards=tuple(cards))
