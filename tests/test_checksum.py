import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attnprobe.identity import _of_array, _of_tensor, checksum

TYPES = [torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]


@given(size=st.integers(0, 70), dtype=st.sampled_from(TYPES), data=st.data())
def test_every_single_change_is_seen(size, dtype, data):
    made = torch.randint(0, 2, (size,), generator=torch.Generator().manual_seed(size)).to(dtype)
    before = checksum(made)
    assert checksum(made.clone()) == before
    if size:
        place = data.draw(st.integers(0, size - 1))
        changed = made.clone()
        changed[place] = 1 - changed[place].int()
        assert checksum(changed) != before


def test_places_change_sums():
    a = torch.arange(40.0)
    assert checksum(a) != checksum(a.flip(0))
    assert checksum(torch.tensor([0.0])) != checksum(torch.tensor([-0.0]))
    assert checksum(torch.zeros(8)) != checksum(torch.zeros(9))


@pytest.mark.parametrize("shift", [0, 1, 3])
def test_other_devices_have_the_same_sums(shift):
    content = torch.from_numpy(np.random.default_rng(0).integers(0, 256, 80_000 + shift, np.uint8))
    content = content[shift:]
    words = content[: len(content) // 8 * 8]
    assert _of_tensor(words, chunk=1 << 17) == _of_array(words.numpy().copy())


def test_views_are_told_by_what_they_show():
    whole = torch.arange(48.0).view(6, 8)
    assert checksum(whole[:, 2:4]) == checksum(whole[:, 2:4].clone())
    assert checksum(torch.tensor([1 + 2j]).conj()) == checksum(torch.tensor([1 - 2j]))
