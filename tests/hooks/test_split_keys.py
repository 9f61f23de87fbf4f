"""Processors that part the text's keys, or put others beside them: words are found, or refused."""

import pytest
import torch
import torch.nn.functional as F

import attnprobe as ap
from attnprobe import AttnProbeError
from attnprobe.hooks import Keep, TokenMaps
from tests.conftest import small_unet

TEXT, MORE = 7, 4
LAYER = "mid_block.attentions.0.transformer_blocks.0.attn2"
WORDS = TokenMaps({"cat": (2,), "sofa": (3, 5)})


class Processor(torch.nn.Module):
    """Attends to groups of keys one after the other; `groups` makes them of the layer's text.

    Args:
        form: which way, the name of a method.
    """

    def __init__(self, form: str, inner: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.form = form
        self.k, self.v = (torch.nn.Linear(24, inner, bias=False) for _ in "kv")
        for part in (self.k, self.v):
            part.weight.data = torch.randn(inner, 24, generator=generator) / 5
        self.registers = torch.randn(MORE, inner, generator=generator)

    def __call__(self, attn, x, encoder_hidden_states=None, attention_mask=None, **_):
        def heads(tensor):
            return tensor.unflatten(-1, (attn.heads, -1)).transpose(1, 2)

        out = 0
        for k, v in getattr(self, self.form)(attn, encoder_hidden_states):
            out = out + F.scaled_dot_product_attention(heads(attn.to_q(x)), heads(k), heads(v))
        return attn.to_out[0](out.transpose(1, 2).flatten(2))

    def adapter(self, attn, e):
        """IP-Adapter as its authors have it: the picture after the text, with its own weights."""
        return [self._own(attn, e[:, :TEXT]), (self.k(e[:, TEXT:]), self.v(e[:, TEXT:]))]

    def picture_first(self, attn, e):
        return self.adapter(attn, e)[::-1]

    def one_projection(self, attn, e):
        return [self._own(attn, e[:, :TEXT]), self._own(attn, e[:, TEXT:])]

    def one_call(self, attn, e):
        """Text and picture in one softmax, with weights of their own."""
        pairs = self.adapter(attn, e)
        return [tuple(torch.cat(parts, 1) for parts in zip(*pairs, strict=True))]

    def registers_after(self, attn, e):
        return [self._beside(attn, e, last=True)]

    def registers_before(self, attn, e):
        return [self._beside(attn, e, last=False)]

    def foreign(self, attn, e):
        """No key is the layer's own projection of the text."""
        return [(self.k(e)[:, :TEXT], self.v(e)[:, :TEXT])]

    def shuffled(self, attn, e):
        """The text in another order: no run of it."""
        order = torch.tensor([3, 0, 5, 1, 6, 2, 4])
        k, v = self._own(attn, e)
        return [(k[:, order][:, :-1], v[:, order][:, :-1])]

    def without_the_start(self, attn, e):
        return [self._own(attn, e[:, 1:TEXT])]

    def _own(self, attn, e):
        return attn.to_k(e), attn.to_v(e)

    def _beside(self, attn, e, last):
        more = self.registers.expand(len(e), -1, -1)
        return tuple(
            torch.cat([part, more] if last else [more, part], 1) for part in self._own(attn, e)
        )


def capture_with(form, tokens, keep, layers=None, **options):
    unet = small_unet()
    for name, module in unet.named_modules():
        if name.endswith("attn2"):
            module.set_processor(Processor(form, module.inner_dim))
    generator = torch.Generator().manual_seed(4)
    given = (
        torch.randn(2, 4, 8, 12, generator=generator),
        500,
        torch.randn(2, tokens, 24, generator=generator),
    )
    layers = ap.Layers(kind="cross") if layers is None else layers
    with torch.no_grad(), ap.capture(unet, layers, keep, **options) as capture:
        unet(*given)
    return capture


FOUND = {  # form -> tokens of the sequence, calls with text, where its keys begin there
    "adapter": (TEXT + MORE, "", 0),
    "picture_first": (TEXT + MORE, "#1", 0),
    "one_projection": (TEXT + MORE, "", 0),
    "one_call": (TEXT + MORE, "", 0),
    "registers_after": (TEXT, "", 0),
    "registers_before": (TEXT, "", MORE),
}


@pytest.mark.parametrize("form", FOUND)
def test_words_are_the_columns_of_their_tokens(form):
    tokens, call, start = FOUND[form]
    words = capture_with(form, tokens, WORDS)
    probs = capture_with(form, tokens, Keep("probs"))
    assert {row["seen"] for row in words.coverage()} == {1}
    found = words.words(0)
    assert len(found) == 7
    for maps in found:
        assert maps.origin.endswith(f"attn2{call}")
        columns = probs[maps.origin][0].mean(0)
        expected = [columns[:, start + 2], columns[:, start + 3] + columns[:, start + 5]]
        torch.testing.assert_close(maps.maps.flatten(1), torch.stack(expected), rtol=0, atol=2e-6)


@pytest.mark.parametrize("form", ["foreign", "shuffled", "without_the_start"])
def test_keys_that_are_nobodys_known_are_refused(form):
    """Never an empty answer: such a layer counts as not observed."""
    tokens = TEXT + MORE if form == "foreign" else TEXT
    with pytest.raises(
        AttnProbeError, match=r"7 of 7 layers were not observed: the recorder kept nothing of it"
    ):
        capture_with(form, tokens, WORDS)
    ignored = capture_with(form, tokens, WORDS, missing="ignore")
    assert {row["seen"] for row in ignored.coverage()} == {0}
    assert all("kept nothing" in row["reason"] for row in ignored.coverage())
    with pytest.raises(AttnProbeError, match="words: of no layer"):
        ignored.words(0)


def test_roles_of_parted_keys():
    roles = {}
    for form, (tokens, *_) in FOUND.items():
        capture = capture_with(form, tokens, Keep("probs"), ap.Layers(names=(LAYER,)))
        roles[form] = [r.steps[0][0].keys.roles() for r in capture.records.records.values()]
    text, other = ("text", TEXT), ("other", MORE)
    assert roles == {
        "adapter": [(text,), ()],
        "picture_first": [(), (text,)],
        "one_projection": [(text,), (other,)],
        "one_call": [(("text", TEXT + MORE),)],  # as many as the sequence that it was given
        "registers_after": [(text, other)],
        "registers_before": [(other, text)],
    }


def test_in_half_precision():
    unet = small_unet().bfloat16()
    for name, module in unet.named_modules():
        if name.endswith("attn2"):
            module.set_processor(Processor("adapter", module.inner_dim).bfloat16())
    text = torch.randn(1, TEXT + MORE, 24, dtype=torch.bfloat16)
    with torch.no_grad(), ap.capture(unet, ap.Layers(kind="cross"), WORDS) as capture:
        unet(torch.randn(1, 4, 8, 12, dtype=torch.bfloat16), 500, text)
    assert len(capture.words(0)) == 7
