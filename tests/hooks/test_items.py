"""Which batch item answers where none is asked for: the prompt's, or an error that lists them."""

import pytest
import torch

import attnprobe as ap
from attnprobe.errors import CaptureError
from attnprobe.hooks import load_capture
from attnprobe.hooks.layout import Tokens
from attnprobe.hooks.records import Kept
from attnprobe.view import attention_grid, head_grid
from attnprobe.view.layer_maps import maps_of
from attnprobe.view.widget import explore

PROMPT = "a red star on a blue ground"
CROSS = "mid_block.attentions.0.transformer_blocks.0.attn2"
SELF = "mid_block.attentions.0.transformer_blocks.0.attn1"


@pytest.fixture(scope="module")
def captures(tiny, tmp_path_factory):
    """Words, heads and steps of one drawing with guidance; and the same, saved and read back."""
    keeps = {
        "words": ap.TokenMaps.of(tiny.pipe.tokenizer, PROMPT, ["star", "ground"]),
        "maps": ap.HeadMean(),
        "heads": ap.PerHead(),
    }
    kinds = {"words": "cross", "maps": "self", "heads": "self"}
    made = {}
    for name, keep in keeps.items():
        layers = ap.Layers(kind=kinds[name], block="mid")
        over_steps = "each" if name == "heads" else "mean"
        with ap.capture(tiny.denoiser, layers, keep, over_steps=over_steps) as capture:
            tiny.draw(PROMPT, 2, 5.0, 0)
        made[name] = capture
    folder = tmp_path_factory.mktemp("captures")
    for name, capture in list(made.items()):
        capture.save(folder / f"{name}.safetensors")
        made[f"{name} read back"] = load_capture(folder / f"{name}.safetensors")
    return made


@pytest.mark.parametrize("read", ["", " read back"])
def test_the_prompt_s_branch_is_the_default(captures, read):
    words, maps, heads = (captures[f"{name}{read}"] for name in ("words", "maps", "heads"))
    for item, row in ((None, 1), ("cond", 1), ("uncond", 0), (-1, 1), (0, 0)):
        for mine, rows in ((words.words(item)[0].maps, words.words(row)[0].maps),):
            assert torch.equal(mine, rows)
        assert torch.equal(words.at(CROSS, item), words[CROSS][row])
        assert torch.equal(maps.fields(item)[0].rows, maps.fields(row)[0].rows)
        assert torch.equal(heads.at(SELF, item, 1), heads[SELF][1, row])
        for layer, expected in zip(
            maps_of(getattr(heads, "records", heads) if not read else heads, item),
            maps_of(getattr(heads, "records", heads) if not read else heads, row),
            strict=True,
        ):
            assert torch.equal(layer.rows, expected.rows)
    assert not torch.equal(words.words()[0].maps, words.words("uncond")[0].maps)


def pictures(plot) -> list:
    return [image.get_array() for axis in plot.axes for image in axis.images]


def test_plots_and_explorer_show_the_prompt_s_branch(captures):
    maps, heads = captures["maps"], captures["heads"]
    image = torch.zeros(16, 16, 3, dtype=torch.uint8).numpy()
    for draw in (
        lambda **item: pictures(attention_grid(maps, **item)),
        lambda **item: pictures(head_grid(heads, SELF, step=1, **item)),
    ):
        default = draw()
        for other, same in ((1, True), ("cond", True), ("uncond", False), (0, False)):
            equal = [bool((a == b).all()) for a, b in zip(default, draw(item=other), strict=True)]
            assert all(equal) if same else not any(equal[:-1])
    shown = explore(maps, image).payload["layers"]
    assert shown == explore(maps, image, item="cond").payload["layers"]
    assert shown != explore(maps, image, item="uncond").payload["layers"]


def test_several_prompts_are_listed(tiny):
    pipe = tiny.pipe
    prompts = ["a red disc", "a star", "a leaf"]
    with ap.capture(tiny.denoiser, ap.Layers(block="mid")) as capture:
        pipe(prompts, num_inference_steps=1, height=64, width=64, output_type="latent")
    for ask in (capture.at, lambda name: capture.fields(), lambda name: capture.fields("cond")):
        said = r"3 rows that are the prompt's .*; say which one is meant: item=0 \(uncond\), 1 \(u"
        with pytest.raises(CaptureError, match=said):
            ask(SELF)
    with pytest.raises(CaptureError, match="3 rows that are the other branch's"):
        capture.at(SELF, "uncond")
    assert torch.equal(capture.at(SELF, 4), capture[SELF][4])


@pytest.mark.parametrize("item", ["prompt", 1.0, True, (0,), [1]])
def test_what_is_no_item_is_refused(captures, item):
    with pytest.raises(CaptureError, match=r"item must be None .*'cond', 'uncond' or a row's num"):
        captures["maps"].at(SELF, item)


def test_a_row_that_does_not_exist_is_refused(captures):
    with pytest.raises(CaptureError, match=r"item must be -2 to 1, .* has 2 rows. Got 2 instead"):
        captures["maps"].at(SELF, 2)


def test_the_only_row_answers_unless_it_is_the_other_branch_s(captures):
    records = captures["maps"].records
    record = records.records[SELF]
    for branch, whole, answers in (
        (None, True, True),
        ("cond", True, True),
        ("uncond", True, False),
        (None, False, False),  # one of several, and nobody says which
        ("cond", False, True),
    ):
        kept = Kept((0,), (1.0,), (branch,), Tokens(), Tokens(), frozenset(), dict, whole)
        record = type(record)(record.layer, 0, 1, 1, [[kept]])
        if answers:
            assert records.find(record, None, None) == (kept, 0)
        else:
            with pytest.raises(CaptureError, match="is the prompt's isn't known"):
                records.find(record, None, None)
        assert records.find(record, 0, None) == (kept, 0)


def test_many_rows_are_listed_in_short(unet):
    with ap.capture(unet, ap.Layers(names=SELF)) as capture, torch.no_grad():
        unet(torch.randn(20, 4, 8, 8), 300, torch.randn(20, 7, 24))
    with pytest.raises(CaptureError, match=r"isn't known; .*: item=0 to 19 \(unknown\)$"):
        capture.at(SELF)


def test_passes_at_one_timestep_are_kept_apart_unless_told(unet):
    """Several pictures in one block, at the timestep that they are all probed at."""
    latents = torch.randn(3, 1, 4, 16, 16)
    text = torch.randn(1, 7, 24)

    def probe(told: bool):
        with ap.capture(unet, ap.Layers(names=SELF)) as capture, torch.no_grad():
            for latent in latents:
                if told:
                    capture.new_step()
                unet(latent, 300, text)
        return capture

    apart, mean = probe(told=False), probe(told=True)
    assert apart[SELF].shape[0] == 3
    with pytest.raises(CaptureError, match="which row"):
        apart.at(SELF)
    torch.testing.assert_close(mean.at(SELF), apart[SELF].mean(0))
    assert mean.records.records[SELF].steps[0][0].steps == (0, 1, 2)


def test_a_step_is_told_inside_the_block_only(unet):
    capture, hooks = ap.capture(unet), ap.AttentionHooks(unet)
    for block in (capture, hooks):
        with pytest.raises(CaptureError, match="new_step is said inside the block"):
            block.new_step()
        with block, torch.no_grad():
            block.new_step()
            unet(torch.randn(1, 4, 8, 8), 300, torch.randn(1, 7, 24))
        with pytest.raises(CaptureError, match="new_step is said inside the block"):
            block.new_step()
