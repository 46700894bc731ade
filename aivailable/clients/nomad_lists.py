"""Nomad's lists as our objects, read again only as far as they changed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

from aivailable.clients.nomad_allocations import Document
from aivailable.clients.nomad_api import NomadApi, QueryValue

PAGE = 1_000
"""Entries without details per page, some 1 kB each."""

T = TypeVar("T")
Details = Callable[[Sequence[str]], Iterator[Document]]
"""Asks for the whole documents of some entries, by id; it may give others as well."""


class KeptList(Generic[T]):
    """One of Nomad's lists, by id, as objects that stay the same ones as long as Nomad says that nothing changed.

    The rule: the index that Nomad sends with a list (`X-Nomad-Index`) is that of the last write to the table behind it,
    and an entry's `ModifyIndex` that of the last write to the entry. So while the index is the one read before, the
    whole list stands as it is, for one small request. Else the list is read without details, and details are asked for
    of those entries only whose `ModifyIndex` is another. An index that fell means that the servers were restored from a
    backup, where the same numbers may stand for something else: everything is read again.

    `details` None: the list itself has all that `parse` needs.
    """

    def __init__(
        self,
        api: NomadApi,
        path: str,
        parse: Callable[[Document], T],
        *,
        query: Mapping[str, QueryValue],
        details: Details | None = None,
    ) -> None:
        self._api = api
        self._path = path
        self._parse = parse
        self._query = query
        self._ask_details = details
        self._index = 0
        self._kept: dict[str, tuple[int, T]] = {}
        self._entries: Mapping[str, T] = {}

    def read(self) -> Mapping[str, T]:
        """All entries as they are now, in the list's order; the same mapping as before where nothing changed.

        Raises:
            AivailableError: Nomad does not answer; what was read already is not asked for again.
        """
        index = self._api.index(self._path, **self._query)
        if index and index == self._index:
            return self._entries
        if index < self._index:
            self._kept, self._index = {}, 0
        index, present = self._changes()
        self._entries = {key: self._kept[key][1] for key in present if key in self._kept}
        self._kept = {key: self._kept[key] for key in self._entries}
        self._index = index
        return self._entries

    def _changes(self) -> tuple[int, list[str]]:
        """Bring `_kept` up to date. Gives the index as of which that holds, and the ids in the list's order."""
        first, present, changed = 0, [], []
        for page in self._api.pages(self._path, PAGE, **self._query):
            first = first or page.index  # what was written after the first page was read is looked at the next time
            for entry in page.body or ():
                present.append(entry["ID"])
                kept = self._kept.get(entry["ID"])
                if kept is not None and kept[0] == entry["ModifyIndex"]:
                    continue
                self._kept.pop(entry["ID"], None)  # it must not stand for what could not be read
                changed.append(entry["ID"])
                if self._ask_details is None:
                    self._keep(entry)
        if self._ask_details is not None and changed:
            for document in self._ask_details(changed):
                self._keep(document)
        return first, present

    def _keep(self, document: Document) -> None:
        kept = self._kept.get(document["ID"])
        if kept is None or kept[0] != document["ModifyIndex"]:
            self._kept[document["ID"]] = (document["ModifyIndex"], self._parse(document))
