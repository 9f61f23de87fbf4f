"""Words as people give them: several in a list, or one as a plain text."""

from __future__ import annotations

from typing import Annotated, Any

from annotated_types import MinLen
from pydantic import BeforeValidator

_Word = Annotated[str, MinLen(1)]


def _listed(given: Any) -> Any:
    if isinstance(given, str):
        return (given,)
    return tuple(given) if isinstance(given, list) else given  # JSON's, which has no tuples


Words = Annotated[
    tuple[_Word, ...],
    BeforeValidator(_listed, json_schema_input_type=_Word | tuple[_Word, ...]),
]
"""Any number of words; one that is no list is the only one."""
