"""Golden files: compare, or write anew with `python -m tests.golden` and read the diff before committing it."""

from collections.abc import Callable, Mapping
from pathlib import Path

from tests.gateway import examples as gateway
from tests.rendering import examples as rendering

SUITES: Mapping[Path, Callable[[], Mapping[str, str]]] = {
    Path(gateway.__file__).parent / "golden": gateway.documents,
    Path(rendering.__file__).parent / "golden": rendering.documents,
}


def main() -> None:
    for folder, documents in SUITES.items():
        folder.mkdir(exist_ok=True)
        for name, text in documents().items():
            (folder / name).write_text(text)


if __name__ == "__main__":
    main()
