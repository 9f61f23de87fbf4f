"""What a value is: a hash that is equal only for equal values, in every process.

It goes through all that a value holds and refuses what it can't tell for sure, so that something
new, such as a function, a hook, or a class of somebody else's, is never taken for what it replaces.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import json
import os
import sys
import sysconfig
from collections import OrderedDict
from types import BuiltinFunctionType, FunctionType
from typing import Any

import numpy as np
import torch

from attnprobe.errors import AttnProbeError

KNOWN = (
    "attnprobe",
    "torch",
    "diffusers",
    "transformers",
    "tokenizers",
    "peft",
    "huggingface_hub",
    "numpy",
)
"""Packages whose classes may be part of a value: a key has their code or their version."""

_NUMBERS_AND_TEXT = (type(None), bool, int, float, complex, str, bytes)
_PLAIN = frozenset([*_NUMBERS_AND_TEXT, torch.dtype, torch.device, torch.memory_format])

_OF_NO_EFFECT = ("_name_or_path", "_use_default_values")
"""What configs hold beside their values: where they were read, and which weren't given."""

_IDLE = ("_is_full_backward_hook", "_non_persistent_buffers_set")
"""What a module holds that no pass depends on, beside its hooks for other occasions."""


class Unkeyable(AttnProbeError):
    """A value that can't be told for sure; the sentence says which part of it."""


def identity(value: Any) -> str:
    """A hash of a value: of numbers, text, arrays, tensors, modules, and objects that hold these.

    Raises:
        Unkeyable: it holds a function typed in a session, a module with hooks, an object of an
            unknown package, or another thing whose content can't be told.
    """
    walk = _Walk()
    walk.add(value)
    return hashlib.sha256("\n".join(walk.said).encode("utf-8", "surrogatepass")).hexdigest()


class _Walk:
    """One way through a value; what was met is `said`."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self._numbers: dict[int, int] = {}
        self._held: list[Any] = []  # so that no address is given out twice
        self._places: dict[Any, str] = {}
        self._folders = _folders()

    def add(self, value: Any) -> None:
        """Take in one more value."""
        kind = type(value)
        if kind in _PLAIN:
            self.said.append(f"{kind.__name__} {value!r}")
        elif kind in (tuple, list, torch.Size):
            self.said.append(f"{kind.__name__} {len(value)}")
            for each in value:
                self.add(each)
        elif isinstance(value, type | FunctionType | BuiltinFunctionType):
            self.said.append(self._place(value))
        elif isinstance(value, enum.Enum):
            self.said.append(f"{self._place(kind)} {value.name}")
        elif kind in (set, frozenset):
            self.said.append(f"{kind.__name__} {sorted(map(identity, value))}")
        elif kind is np.ndarray or isinstance(value, np.generic):
            self._array(np.asarray(value))
        elif not self._was_met(value):
            self._object(value)

    def _object(self, value: Any) -> None:
        kind = type(value)
        if isinstance(value, torch.Tensor):
            self._tensor(value)
        elif isinstance(value, torch.nn.Module):
            self._holder(self._place(kind), _state(value))
        elif isinstance(value, dict):
            plain = kind in (dict, OrderedDict)
            self._holder(kind.__name__ if plain else self._place(kind), value)
        elif kind.__module__ == "tokenizers":
            self.said.append(f"{self._place(kind)} {_tokenizer(value)}")
        elif _is_open(kind):
            self._holder(self._place(kind), vars(value))
        else:
            raise Unkeyable(f"the content of a {kind.__qualname__} can't be told")

    def _was_met(self, value: Any) -> bool:
        """Whether the value has been gone through, so that circles have an end."""
        number = self._numbers.get(id(value))
        if number is not None:
            self.said.append(f"again {number}")
            return True
        self._numbers[id(value)] = len(self._held)
        self._held.append(value)
        return False

    def _holder(self, name: str, values: dict[Any, Any]) -> None:
        self.said.append(f"{name} {len(values)}")
        for key, value in sorted(values.items(), key=lambda item: repr(item[0])):
            if key not in _OF_NO_EFFECT:
                self.add(key)
                self.add(value)

    def _array(self, array: np.ndarray) -> None:
        if array.dtype.hasobject:
            raise Unkeyable("the content of an array of objects can't be told")
        content = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
        self.said.append(f"array {array.dtype.str} {array.shape} {content}")

    def _tensor(self, tensor: torch.Tensor) -> None:
        if type(tensor) not in (torch.Tensor, torch.nn.Parameter) or tensor.is_meta:
            raise Unkeyable(f"the content of a {type(tensor).__qualname__} on {tensor.device}")
        if tensor.layout != torch.strided or tensor.is_quantized:
            raise Unkeyable(f"the content of a tensor in the layout {tensor.layout}")
        form = tensor.dtype, tuple(tensor.shape), tensor.stride(), tensor.device.type
        self.said.append(f"tensor {form} {checksum(tensor)}")

    def _place(self, named: Any) -> str:
        """Module and name of a class or function of a known package, found there and unchanged."""
        if named not in self._places:
            self._places[named] = _place(named, self._folders)
        return self._places[named]


def _is_open(kind: type) -> bool:
    """Whether all that an object of the class holds stands in its ``__dict__``."""
    classes = kind.__mro__[:-1]
    return kind.__dictoffset__ != 0 and all(
        each.__flags__ & _DEFINED_IN_PYTHON and not vars(each).get("__slots__") for each in classes
    )


_DEFINED_IN_PYTHON = 1 << 9
"""Py_TPFLAGS_HEAPTYPE: not so are classes written in C, such as list and NumPy's memmap."""


_MADE = (
    *("__init__", "__repr__", "__eq__", "__hash__", "__setattr__", "__delattr__", "__replace__"),
    *("__lt__", "__le__", "__gt__", "__ge__", "__getstate__", "__setstate__"),
)
"""What the dataclass decorator makes, whose code lies in no file."""


def _state(module: torch.nn.Module) -> dict[str, Any]:
    """What a pass through a module depends on."""
    if module.training:
        raise Unkeyable(f"a {type(module).__qualname__} in training gives chance a part")
    state = {}
    for name, value in vars(module).items():
        if name in ("_forward_hooks", "_forward_pre_hooks") and value:
            raise Unkeyable(
                f"a {type(module).__qualname__} has hooks, which may change what it does"
            )
        if not ("_hooks" in name or name in _IDLE):
            state[name] = value
    return state


def _tokenizer(value: Any) -> str:
    """A tokenizer as it says itself, but for what each call sets anew; of its parts their text."""
    if not hasattr(value, "to_str"):
        return repr(value)
    said = json.loads(value.to_str())
    return json.dumps({**said, "truncation": None, "padding": None}, sort_keys=True)


def _place(named: Any, folders: tuple[str, ...]) -> str:
    module, name = str(getattr(named, "__module__", None)), named.__qualname__
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    known = (*KNOWN, "builtins") if isinstance(named, type) else KNOWN
    if found is not named or module.partition(".")[0] not in known:
        raise Unkeyable(f"{module}.{name} is of no package whose code is known")
    functions = [named] if isinstance(named, FunctionType) else []
    if isinstance(named, type):
        functions += [function for each in named.__mro__ for function in _methods(each)]
    for function in functions:
        _refuse_foreign_code(function, folders)
    return f"{module}.{name}"


def _methods(kind: type) -> list[FunctionType]:
    """The functions in a class's body, without those that its dataclass decorator made."""
    made = _MADE if "__dataclass_fields__" in vars(kind) else ()
    bare = {
        name: getattr(value, "__func__", getattr(value, "fget", value))
        for name, value in vars(kind).items()
        if name not in made
    }
    return [value for value in bare.values() if isinstance(value, FunctionType)]


def _refuse_foreign_code(function: Any, folders: tuple[str, ...]) -> None:
    """Refuse what a session has put in a known one's place."""
    while function is not None:
        if not function.__code__.co_filename.startswith(folders):
            raise Unkeyable(f"{function.__module__}.{function.__qualname__} isn't what it was")
        function = getattr(function, "__wrapped__", None)


def _folders() -> tuple[str, ...]:
    """Where the code of known packages and of Python lies."""
    files = (getattr(sys.modules.get(name), "__file__", None) for name in KNOWN)
    folders = (os.path.dirname(file) + os.sep for file in files if file)
    return (*folders, sysconfig.get_path("stdlib") + os.sep, "<frozen ")


_CHUNK = 1 << 17
"""Words that are summed at once on a processor, whose cache holds them; a GPU takes more."""

_LARGE_CHUNK = 1 << 22


def checksum(tensor: torch.Tensor) -> list[int]:
    """Sums modulo 2⁶⁴ of a tensor's 8-byte words, each times an odd number of its place's own.

    As the factors are odd, no change of a single word leaves the sums as they are; of other
    changes one in 2⁶⁴ does. Values are told apart as bytes: 0 and −0, and different NaNs, differ.
    """
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    content = tensor.detach().resolve_neg().contiguous().reshape(-1).view(torch.uint8)
    whole = len(content) // 8 * 8
    rest = content[whole:].tolist()
    if content.device.type == "cpu":
        return _of_array(content[:whole].numpy()) + rest
    return _of_tensor(content[:whole]) + rest


def _of_array(content: np.ndarray) -> list[int]:
    words = content.view(np.int64)
    factors = _factors(_CHUNK)
    parts = (words[start : start + _CHUNK] for start in range(0, len(words), _CHUNK))
    return [int(np.dot(part, factors[: len(part)])) for part in parts]


def _of_tensor(content: torch.Tensor, chunk: int = _LARGE_CHUNK) -> list[int]:
    if len(content) == 0:
        return []
    if content.storage_offset() % 8:
        content = content.clone()
    factors = _factors_on(content.device, chunk)
    parts = content.view(torch.int64).split(chunk)
    return torch.stack([(part * factors[: len(part)]).sum() for part in parts]).tolist()


@functools.cache
def _factors(count: int) -> np.ndarray:
    bounds = np.iinfo(np.int64)
    return np.random.default_rng(0x5EED).integers(bounds.min, bounds.max, count) | 1


@functools.cache
def _factors_on(device: torch.device, count: int) -> torch.Tensor:
    return torch.from_numpy(_factors(count)).to(device)
