import argparse

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from attnprobe import ModelSpec
from attnprobe.data.scenes import make_scene
from attnprobe.models.tiny.architecture import make_tokenizer, make_unet
from attnprobe.models.tiny.corpus import Corpus
from attnprobe.models.tiny.pictures import (
    EMPTY_CAPTIONS,
    Drawn,
    list_photographs,
    training_picture,
)
from attnprobe.models.tiny.train import main
from attnprobe.models.tiny.trainer import DECAY_FROM, Trainer


def trainer(out, seconds: float = 3600, resume: bool = False) -> Trainer:
    torch.manual_seed(0)
    args = argparse.Namespace(
        device="cpu", seed=3, out=str(out), ema=0.9, float32=True, resume=resume, every=2
    )
    parts = nn.ModuleDict({"line": nn.Linear(4, 1)})
    return Trainer("part", parts, args, seconds / 60, 1e-2)


def loss_of(trained: Trainer, end: int):
    """The loss of a line to learn, whose training is over with a step of that number."""

    def loss(generator: torch.Generator) -> torch.Tensor:
        if trained.step + 1 == end:
            trained.seconds = 0
        x = torch.randn(16, 4, generator=generator)
        return (trained.parts["line"](x) - x.sum(1, keepdim=True)).square().mean()

    return loss


def test_a_training_goes_on_from_all_that_it_was(tmp_path):
    stopped = trainer(tmp_path)
    stopped.run(loss_of(stopped, 5), 16)
    resumed = trainer(tmp_path, resume=True)
    assert (resumed.step, resumed.spent) == (5, stopped.spent)
    for kept in ("parts", "average", "optimizer"):
        before, after = getattr(stopped, kept).state_dict(), getattr(resumed, kept).state_dict()
        assert str(before) == str(after)
    assert torch.equal(stopped.generator.get_state(), resumed.generator.get_state())
    resumed.run(loss_of(resumed, 8), 16)
    assert resumed.step == 8
    assert resumed.spent > stopped.spent


def test_a_training_begins_anew_unless_told_to_resume(tmp_path):
    first = trainer(tmp_path)
    first.run(loss_of(first, 5), 16)
    assert trainer(tmp_path).step == 0


def test_a_training_ends_with_its_minutes(tmp_path):
    timed = trainer(tmp_path, seconds=0.3)
    timed.run(lambda generator: timed.parts["line"].weight.square().sum(), 16)
    assert timed.spent >= 0.3
    assert timed.rate_now() <= 0


def test_the_rate_rises_stays_and_falls_with_the_clock(tmp_path):
    timed = trainer(tmp_path)
    timed.step = 0
    assert timed.rate_now() < 0.01 * timed.rate
    timed.step = 10**6
    shares = np.linspace(0, 1, 101)
    rates = []
    for share in shares:
        timed.spent = share * timed.seconds
        rates.append(timed.rate_now() / timed.rate)
    expected = np.minimum(1, (1 - shares) / (1 - DECAY_FROM))
    np.testing.assert_allclose(rates, expected, atol=1e-12)


def test_what_is_learnt_is_learnt(tmp_path):
    line = trainer(tmp_path)
    averaged = line.run(loss_of(line, 1500), 16)["line"]
    np.testing.assert_allclose(averaged.weight.detach(), np.ones((1, 4)), atol=0.05)


FEW = (
    "--pictures 8 8 8 --wait 1 --vae-pictures 24 --vae-minutes 0.002 --vae-batch 2 "
    "--minutes 0.002 --batch 2 --float32 --device cpu"
)


def test_training_from_nothing_ends_in_a_pipeline_that_loads(tmp_path, photographs):
    main([*FEW.split(), "--photographs", str(photographs), "--out", str(tmp_path)])
    model = ModelSpec(repo=str(tmp_path / "pipeline"), device="cpu").load()
    assert model.size == 128
    assert model.pipe.vae.config.scaling_factor > 0


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number in range(3):
        shade = np.linspace(0, 200, 300 * 200 * 3).reshape(300, 200, 3) + 20 * number
        Image.fromarray(shade.astype(np.uint8)).save(folder / f"{number}.jpg")
    return folder


@pytest.mark.parametrize("kind", ["scene", "photo-like", "photograph"])
def test_a_training_picture_is_a_function_of_its_number(kind, photographs):
    files = list_photographs(photographs)
    first, caption = training_picture(kind, 5, files)
    again, same = training_picture(kind, 5, files)
    other, _ = training_picture(kind, 6, files)
    assert (first.shape, first.dtype) == ((128, 128, 3), np.uint8)
    assert np.array_equal(first, again)
    assert caption == same
    assert not np.array_equal(first, other)


def test_training_scenes_are_of_the_training_split_turned():
    for number in range(8):
        image, caption = training_picture("scene", number)
        scene = make_scene("train", number)
        turns = [
            np.rot90(flip, k) for flip in (scene.image, scene.image[:, ::-1]) for k in range(4)
        ]
        if caption:
            assert caption == scene.caption
            assert any(np.array_equal(image, turn) for turn in turns)
        else:  # its channels are permuted, which the caption would belie
            assert any(np.array_equal(np.sort(image, -1), np.sort(turn, -1)) for turn in turns)


def test_some_captions_are_left_out():
    captions = [training_picture("scene", number)[1] for number in range(200)]
    assert abs(np.mean([caption == "" for caption in captions]) - EMPTY_CAPTIONS) < 0.08


def test_photographs_have_no_caption_and_are_cut_at_many_scales(photographs):
    found = [training_picture("photograph", n, list_photographs(photographs)) for n in range(30)]
    assert {caption for _, caption in found} == {""}
    spreads = [float(image.std()) for image, _ in found]  # of the gradient that a crop shows
    assert max(spreads) > 3 * min(spreads)


def test_a_corpus_gives_what_was_drawn_in_the_shares_asked(photographs):
    files = list_photographs(photographs)
    drawn = Drawn({"scene": 80, "photograph": 10}, files, workers=2)

    def encode(pixels: torch.Tensor) -> torch.Tensor:
        mean = pixels.mean((1, 2, 3))
        return mean[:, None, None, None].expand(-1, 4, 32, 32)

    shares = {"scene": 0.25, "photograph": 0.75}
    corpus = Corpus(drawn, encode, shares, torch.device("cpu"))
    corpus.wait(1)
    assert corpus.count == corpus.total == 90
    latents, ids = corpus.batch(2000, torch.Generator().manual_seed(0))
    known = [
        training_picture(kind, number, files)[0].mean() / 127.5 - 1
        for kind, count in drawn.counts.items()
        for number in range(count)
    ]
    for mean in set(latents[:, 0, 0, 0].tolist()):  # kept in bfloat16
        assert np.abs(np.array(known) - mean).min() < 0.005
    words = {tuple(row) for row in corpus.token_ids([""]).tolist()}
    empty = np.mean([tuple(row) in words for row in ids.tolist()])
    assert abs(empty - (0.75 + 0.25 * EMPTY_CAPTIONS)) < 0.05


def test_a_failure_to_draw_reaches_who_trains():
    corpus = Corpus(
        Drawn({"photograph": 4}, ("nowhere.jpg",), workers=1),
        lambda pixels: pixels,
        {"photograph": 1.0},
        torch.device("cpu"),
    )
    with pytest.raises(FileNotFoundError):
        corpus.wait(1)


def test_every_word_of_a_caption_is_one_token():
    tokenizer = make_tokenizer()
    for number in range(20):
        caption = make_scene("train", number).caption
        words = caption.replace(",", " ,").split()
        assert tokenizer.tokenize(caption) == [f"{word}</w>" for word in words]
        assert len(tokenizer(caption).input_ids) <= tokenizer.model_max_length


def test_self_attention_starts_with_query_equal_to_key():
    block = make_unet().mid_block.attentions[0].transformer_blocks[0]
    assert torch.equal(block.attn1.to_q.weight, block.attn1.to_k.weight)
    gram = block.attn1.to_q.weight @ block.attn1.to_q.weight.T
    torch.testing.assert_close(gram, 1.44 * torch.eye(len(gram)), rtol=1e-4, atol=1e-4)
    assert not torch.equal(block.attn2.to_q.weight[:, :128], block.attn2.to_k.weight)
