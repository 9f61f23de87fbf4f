"""Which tokens are whose: prompt-to-prompt's mappers, written as its authors' program has them."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attnprobe.errors import CaptureError
from attnprobe.hooks import TokenMatch
from attnprobe.hooks.token_match import _common
from attnprobe.models.tiny.architecture import make_tokenizer

BEFORE = "a red disc on a blue ground"


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


def authors_alignment(x, y):
    """`seq_aligner.global_align` and `get_aligned_sequences`, gap 0, match 1, mismatch −1."""
    scores = [[0] * (len(y) + 1) for _ in range(len(x) + 1)]
    came = [[1] * (len(y) + 1)] + [[2] + [0] * len(y) for _ in x]
    came[0][0] = 4
    for i in range(1, len(x) + 1):
        for j in range(1, len(y) + 1):
            left, up = scores[i][j - 1], scores[i - 1][j]
            diagonal = scores[i - 1][j - 1] + (1 if x[i - 1] == y[j - 1] else -1)
            scores[i][j] = max(left, up, diagonal)
            came[i][j] = 1 if scores[i][j] == left else 2 if scores[i][j] == up else 3
    i, j, mapper = len(x), len(y), []
    while came[i][j] != 4:
        if came[i][j] == 3:
            i, j = i - 1, j - 1
            mapper.append((j, i))
        elif came[i][j] == 1:
            j -= 1
            mapper.append((j, -1))
        else:
            i -= 1
    return dict(pair for pair in reversed(mapper) if pair[1] >= 0)


tokens = st.lists(st.integers(0, 4), max_size=12)


@given(tokens, tokens)
def test_refinement_pairs_tokens_as_the_authors_do(x, y):
    assert _common(tuple(x), tuple(y)) == authors_alignment(x, y)


@pytest.mark.parametrize(
    "after",
    [
        BEFORE,
        "a red disc on a blue checked ground",
        "a star on a blue ground",
        "two stars",
        "",
    ],
)
def test_refinement_is_the_authors_mapper(tokenizer, after):
    """Their (mapper, alphas): base[..., mapper]·alphas + own·(1 − alphas)."""
    x, y = tokenizer(BEFORE).input_ids, tokenizer(after).input_ids
    pairs, size = authors_alignment(x, y), 77
    mapper = [pairs.get(j, -1) for j in range(len(y))] + [*range(len(y), size)]
    alphas = torch.tensor([float(i != -1) for i in mapper])
    generator = torch.Generator().manual_seed(0)
    base, own = (torch.rand(2, 6, size, generator=generator) for _ in range(2))
    truth = base[..., mapper] * alphas + own * (1 - alphas)
    weights, keeps = TokenMatch.refinement(tokenizer, BEFORE, after).matrix(size, size)
    assert torch.equal(torch.where(keeps, own, base @ weights), truth)


def test_replacement_is_the_authors_mapper(tokenizer):
    """einsum('hpw,wn->hpn', base, mapper): the identity but for words of other tokens."""
    weights, keeps = TokenMatch.replacement(
        tokenizer, BEFORE, "a red star on a blue ground"
    ).matrix(77, 77)
    assert torch.equal(weights, torch.eye(77))
    assert not keeps.any()


def test_a_word_of_more_tokens_takes_equal_parts(tokenizer):
    """mapper[inds_source, i_t] = 1 / len(inds_target), and the words after it are still theirs."""
    after = "a red zebu on a blue ground"
    zebu = [3, 4, 5, 6][: len(tokenizer("zebu").input_ids) - 2]
    assert len(zebu) > 1
    match = TokenMatch.replacement(tokenizer, BEFORE, after)
    weights, _ = match.matrix(77, 77)
    for place in zebu:
        assert weights[:, place].nonzero().flatten().tolist() == [3]
        assert weights[3, place] == 1 / len(zebu)
    shift = len(zebu) - 1
    for place in range(4, len(tokenizer(BEFORE).input_ids)):  # on a blue ground, and the end
        assert match.sources[place + shift] == {place: 1.0}
    assert weights.sum() == pytest.approx(77 - shift)
    back, _ = TokenMatch.replacement(tokenizer, after, BEFORE).matrix(77, 77)
    assert back[zebu, 3].tolist() == [1.0] * len(zebu)  # and the sum of them the other way


def test_a_pipeline_does_where_its_tokenizer_does(tiny, tokenizer):
    after = "a green star on a blue ground"
    for make in (TokenMatch.replacement, TokenMatch.refinement):
        assert make(tiny.pipe, BEFORE, after) == make(tokenizer, BEFORE, after)
        assert make(tiny, BEFORE, after) == make(tokenizer, BEFORE, after)


def test_what_is_not_known_is_refused(tokenizer):
    with pytest.raises(CaptureError, match=r"these have 7 and 3. Where .* refinement"):
        TokenMatch.replacement(tokenizer, BEFORE, "a red star")
    short = copy.deepcopy(tokenizer)
    short.model_max_length = 6
    for make in (TokenMatch.replacement, TokenMatch.refinement):
        with pytest.raises(CaptureError, match="the prompt is cut off after 6 tokens"):
            make(short, BEFORE, BEFORE)
    with pytest.raises(CaptureError, match=r"places up to 3 and 3, but the texts have 2 and 9"):
        TokenMatch({3: {3: 1.0}}, 9).matrix(2, 9)
    with pytest.raises(CaptureError, match=r"wants a pipeline or its tokenizer.*Got NoneType"):
        TokenMatch.refinement(None, BEFORE, BEFORE)
