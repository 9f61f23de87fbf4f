import argparse

import pytest
import torch
from torch import nn

from attnprobe import ModelSpec
from attnprobe.data.scenes import make_scene
from attnprobe.models.tiny.architecture import make_tokenizer, make_unet
from attnprobe.models.tiny.train import EMPTY_CAPTIONS, Scenes, Trainer, draw_training_scene, main


def trainer(out, steps: int = 8) -> Trainer:
    torch.manual_seed(0)
    args = argparse.Namespace(device="cpu", seed=3, out=str(out), ema=0.9, float32=True)
    return Trainer("part", nn.ModuleDict({"line": nn.Linear(4, 1)}), args, steps, 1e-2)


def loss_of(trained: Trainer, stop_at: int | None = None):
    def loss(generator: torch.Generator) -> torch.Tensor:
        if trained.step == stop_at:
            trained._save()  # as it does every two minutes
            raise KeyboardInterrupt
        x = torch.randn(16, 4, generator=generator)
        return (trained.parts["line"](x) - x.sum(1, keepdim=True)).square().mean()

    return loss


def test_a_stopped_training_goes_on_as_if_it_had_not_been(tmp_path):
    whole = trainer(tmp_path / "whole")
    expected = whole.run(loss_of(whole)).state_dict()
    stopped = trainer(tmp_path / "stopped")
    with pytest.raises(KeyboardInterrupt):
        stopped.run(loss_of(stopped, stop_at=5))
    resumed = trainer(tmp_path / "stopped")
    assert resumed.step == 5
    result = resumed.run(loss_of(resumed)).state_dict()
    assert all(torch.equal(result[name], value) for name, value in expected.items())


def test_training_from_nothing_ends_in_a_pipeline_that_loads(tmp_path):
    few = "--scenes 8 --vae-steps 1 --vae-batch 2 --steps 1 --batch 2 --float32 --device cpu"
    main([*few.split(), "--out", str(tmp_path)])
    model = ModelSpec(repo=str(tmp_path / "pipeline"), device="cpu").load()
    assert model.size == 128
    assert model.pipe.vae.config.scaling_factor > 0


def test_batches_are_turned_scenes_and_some_captions_are_empty():
    scenes = Scenes(4, torch.device("cpu"))
    images, ids = scenes.batch(400, torch.Generator().manual_seed(0))
    assert images.shape == (400, 3, 128, 128)
    assert images.abs().max() <= 1
    empty = (ids == scenes.empty).all(1)
    assert abs(empty.float().mean() - EMPTY_CAPTIONS) < 0.06
    captioned = [tuple(row) for row in ids[~empty].tolist()]
    known = {tuple(row) for row in scenes.ids.tolist()}
    assert set(captioned) == known
    # A turned picture keeps the colours of its scene, pixel by pixel.
    sums = {round(p.float().mean((1, 2)).sum().item(), 2) for p in scenes.pixels}
    turned = {round(((p + 1) * 127.5).mean((1, 2)).sum().item(), 2) for p in images}
    assert all(min(abs(t - s) for s in sums) < 0.05 for t in turned)


def test_training_scenes_are_of_the_training_split():
    image, caption = draw_training_scene(0)
    assert (image == make_scene("train", 0).image).all()
    assert caption == make_scene("train", 0).caption


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
