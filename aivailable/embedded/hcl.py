"""HCL text to blocks whose keys are taken one by one. What nobody took is refused by name.

python-hcl2 8.1 undoes the escapes of quoted strings, but not `$${`, and drops a heredoc's last newline. So its values
are taken raw, with their quotes and heredoc markers, and read here as HCL's native syntax says.
"""

import re
import textwrap
from typing import Any, Self, TypeVar

import hcl2
from hcl2.rules.base import AttributeRule, BlockRule
from hcl2.utils import SerializationContext
from lark.exceptions import LarkError

from aivailable.errors import UserError

_T = TypeVar("_T")

_RAW = hcl2.SerializationOptions(strip_string_quotes=False, explicit_blocks=False, preserve_heredocs=True)
_ESCAPE = re.compile(r"\\(?:u(?P<four>[0-9a-fA-F]{4})|U(?P<eight>[0-9a-fA-F]{8})|(?P<one>.?))", re.DOTALL)
_ONE = {'"': '"', "\\": "\\", "n": "\n", "r": "\r", "t": "\t"}
_MARKS = re.compile(r"\$\$\{|%%\{|%\{")
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h))+")
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def _raw(rule: Any) -> Any:
    """The value of a rule as it is written.

    With a context of its own: the library's default is one object for all calls, which two threads would disturb.
    """
    return rule.serialize(_RAW, SerializationContext())


def not_imitated(what: str) -> UserError:
    """The error for everything that is Nomad's but not the embedded cluster's."""
    return UserError(
        f"{what} is not imitated by the embedded cluster", hint="use it on a real Nomad, or leave it out here"
    )


class Block:
    """One HCL block; `path` says where it stands. `done` refuses what was not taken.

    The methods that take a key raise UserError when it is missing without a default, or of another kind.
    """

    def __init__(self, body: Any, path: str) -> None:
        self.path = path
        self._values: dict[str, Any] = {}
        self._blocks: dict[str, list[tuple[tuple[str, ...], Any]]] = {}
        for rule in body.children:
            if isinstance(rule, AttributeRule):
                name = _raw(rule.identifier)
                if name in self._values:
                    raise self._wrong(name, "given twice")
                self._values[name] = _raw(rule.expression)
            elif isinstance(rule, BlockRule):
                name, *labels = map(_raw, rule.labels)
                self._blocks.setdefault(name, []).append((tuple(label.strip('"') for label in labels), rule.body))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The top of a text.

        Raises:
            UserError: Not HCL.
        """
        try:
            return cls(hcl2.parses(text if text.endswith("\n") else text + "\n").body, "job text")
        except LarkError as error:
            raise UserError(f"job text: not HCL: {error}", hint="correct the job") from error
        except RecursionError as error:
            raise UserError("job text: nested too deeply", hint="correct the job") from error

    def text(self, key: str, default: str | None = None) -> str:
        """A string, as Nomad reads it."""
        return self._string(key, self._values.pop(key)) if key in self._values else self._default(key, default)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings; empty when the key is missing."""
        value = self._values.pop(key, [])
        if not isinstance(value, list):
            raise self._wrong(key, "expected a list of strings")
        return tuple(self._string(key, item) for item in value)

    def number(self, key: str, default: int | None = None, *, least: int | None = None) -> int:
        """A whole number, not below `least`."""
        value = self._values.pop(key) if key in self._values else self._default(key, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong(key, "expected a whole number")
        if least is not None and value < least:
            raise self._wrong(key, f"expected at least {least}")
        return value

    def flag(self, key: str, *, default: bool = False) -> bool:
        """True or false."""
        value = self._values.pop(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, "expected true or false")
        return value

    def seconds(self, key: str, default: float | None = None) -> float:
        """A Go duration such as `1m30s`, in seconds."""
        if key not in self._values:
            return self._default(key, default)
        value = self.text(key)
        if not _DURATION.fullmatch(value):
            raise self._wrong(key, "expected a duration such as 10s")
        return sum(float(count) * _UNITS_S[unit] for count, unit in re.findall(r"([0-9.]+)(ms|s|m|h)", value))

    def mapping(self, key: str) -> dict[str, str]:
        """The block `key` as names with texts; numbers and booleans become text as in Nomad. Empty when missing."""
        block = self.optional_block(key)
        if block is None:
            return {}
        if block._blocks:
            raise not_imitated(f"{block.path}: {', '.join(sorted(block._blocks))}")
        return {name: block._as_text(name, value) for name, value in block._values.items()}

    def blocks(self, key: str) -> list["Block"]:
        """All blocks of that name; they have no label."""
        found = self._blocks.pop(key, [])
        if any(labels for labels, _ in found):
            raise self._wrong(key, "expected a block without a name")
        return [Block(body, f"{self.path} > {key}") for _, body in found]

    def optional_block(self, key: str) -> "Block | None":
        """The one block of that name, or None."""
        found = self.blocks(key)
        if len(found) > 1:
            raise self._wrong(key, "more than one block")
        return found[0] if found else None

    def block(self, key: str) -> "Block":
        """The one block of that name."""
        found = self.optional_block(key)
        if found is None:
            raise self._wrong(key, "no such block")
        return found

    def labelled(self, key: str) -> list[tuple[str, "Block"]]:
        """All blocks `key "label" {…}`, in the order written."""
        found = self._blocks.pop(key, [])
        if any(len(labels) != 1 for labels, _ in found):
            raise self._wrong(key, "expected a block with one name")
        return [(label, Block(body, f"{self.path} > {key} {label}")) for (label,), body in found]

    def labelled_one(self, key: str) -> tuple[str, "Block"]:
        """The one block `key "label" {…}`."""
        found = self.labelled(key)
        if len(found) != 1:
            raise UserError(f"{self.path}: expected one {key}, found {len(found)}", hint="correct the job")
        return found[0]

    def done(self) -> None:
        """Refuse what is left.

        Raises:
            UserError: With the names of all keys and blocks that nobody took.
        """
        if left := sorted({*self._values, *self._blocks}):
            raise not_imitated(f"{self.path}: {', '.join(left)}")

    def _default(self, key: str, default: _T | None) -> _T:
        if default is None:
            raise self._wrong(key, "is missing")
        return default

    def _string(self, key: str, raw: Any) -> str:
        if not isinstance(raw, str) or not raw.startswith('"'):
            raise self._wrong(key, "expected a string")
        return self._literal(key, raw[1:-1])

    def _as_text(self, key: str, raw: Any) -> str:
        if isinstance(raw, bool):
            return str(raw).lower()
        return str(raw) if isinstance(raw, int | float) else self._string(key, raw)

    def _literal(self, key: str, raw: str) -> str:
        """What stands between the quotes, or a whole heredoc (only those span lines), without its escapes."""
        if "\n" not in raw:
            return self._marks(key, _ESCAPE.sub(lambda found: self._escape(key, found), raw))
        first, *lines, _ = raw.split("\n")
        if not first.startswith("<<"):
            raise self._wrong(key, "a quoted string ends on its line")
        body = "".join(f"{line}\n" for line in lines)
        return self._marks(key, textwrap.dedent(body) if first.startswith("<<-") else body)

    def _escape(self, key: str, found: re.Match[str]) -> str:
        if digits := found["four"] or found["eight"]:
            code = int(digits, 16)
            if code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF:
                return chr(code)
        elif found["one"] in _ONE:
            return _ONE[found["one"]]
        raise self._wrong(key, f"no such escape: {found[0]}")

    def _marks(self, key: str, text: str) -> str:
        def plain(found: re.Match[str]) -> str:
            if found[0] == "%{":
                raise not_imitated(f"{self.path}: {key}: a %{{…}} directive")
            return found[0][1:]

        return _MARKS.sub(plain, text)

    def _wrong(self, key: str, what: str) -> UserError:
        return UserError(f"{self.path}: {key}: {what}", hint="correct the job")
