"""The hand-written documents of `envoy/`, read once."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

Resource = dict[str, Any]
"""An Envoy resource in its JSON form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """What is the same for every fleet; `envoy/README.md` says what each holds."""

    local_replies: list[Resource]
    cors: Resource
    access_log: Resource
    upstream: Resource
    retry: Resource

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read them from the folder that ships them."""
        names = ("local_replies", "cors", "access_log", "upstream", "retry")
        return cls(**{name: json.loads((folder / f"{name}.json").read_text()) for name in names})
