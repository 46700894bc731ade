"""The hand-written documents of `envoy/`, read once."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

Resource = dict[str, Any]
"""An Envoy resource in its JSON form."""

MODEL_HEADER = "x-model"
"""By which routes are chosen: sent by the client, else set from its body (`envoy/model.lua`)."""
MODEL_NAMESPACE = "envoy.lb"
"""Where Envoy's JSON parser puts the model that the script did not see."""
MODEL_MISSING = "__none__"
MODEL_UNREADABLE = "__error__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """What is the same for every fleet; `envoy/README.md` says what each holds."""

    local_replies: list[Resource]
    cors: Resource
    access_log: Resource
    upstream: Resource
    retry: Resource
    model: str
    model_parsed: str

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read them from the folder that ships them."""
        names = ("local_replies", "cors", "access_log", "upstream", "retry")
        scripts = {name: (folder / f"{name}.lua").read_text() for name in ("model", "model_parsed")}
        documents = {name: json.loads((folder / f"{name}.json").read_text()) for name in names}
        read: dict[str, Any] = {**documents, **scripts}
        return cls(**read)
