"""Properties: whatever is selected, recorded, prompted, scheduled and wrapped, a capture answers as
an independent computation does, or refuses."""

from __future__ import annotations

import copy

import diffusers as D
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch import nn

import attnprobe as ap
from attnprobe.errors import CaptureError
from attnprobe.hooks import Entropy, HeadMax, HeadMean, PerHead
from tests.conftest import small_unet
from tests.damage import examples
from tests.hooks.calls import eager

SCHEDULERS = (
    D.DDIMScheduler,
    D.EulerDiscreteScheduler,
    D.HeunDiscreteScheduler,
    D.DPMSolverMultistepScheduler,
    D.DDPMScheduler,
)

TEXTS = ("a red disc", "a star on a blue ground", "")


class Open(nn.Module):
    """What is around a denoiser in a pipeline, which asks it for its config, device and type."""

    def __getattr__(self, name: str):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self._modules["module"], name)


class Wrapper(Open):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args, **kwargs):
        return self.module(*args, **kwargs)


class Parallel(Open, nn.DataParallel):
    pass


WRAPPERS = {
    "bare": lambda model: model,
    "own": Wrapper,
    "twice": lambda model: Wrapper(Wrapper(model)),
    "compile": lambda model: torch.compile(model, backend="eager"),
    "data parallel": Parallel,
}

RECORDERS = {
    HeadMean(): lambda probs: probs.mean(1),
    PerHead(): lambda probs: probs,
    HeadMax(): lambda probs: probs.amax(1),
    Entropy(): lambda probs: torch.special.entr(probs).sum(3),
}


class Truth:
    """What hooks of the test's own on the bare model see: of each pass its text, of each layer its
    probabilities in float64; and of the scheduler each step that it takes."""

    def __init__(self, pipe, model: nn.Module, names: list[str]) -> None:
        self.pipe, self.model, self.names = pipe, model, names
        self.texts: list[torch.Tensor] = []
        self.steps: list[int] = []
        self.probs: dict[str, list[torch.Tensor]] = {name: [] for name in names}

    def __enter__(self) -> Truth:
        step, self.taken = self.pipe.scheduler.step, 0

        def counted(*args, **kwargs):
            self.taken += 1
            return step(*args, **kwargs)

        self.pipe.scheduler.step = counted
        self.handle = self.model.register_forward_pre_hook(self._look, with_kwargs=True)
        self.hooks = ap.AttentionHooks(self.model)
        self.hooks.add(
            lambda call: self.probs[call.name].append(eager(call)),
            ap.Layers(names=tuple(self.names)),
        )
        self.hooks.__enter__()
        return self

    def __exit__(self, *exception) -> None:
        self.hooks.__exit__(*exception)
        self.handle.remove()
        del self.pipe.scheduler.step

    def _look(self, module, args, kwargs) -> None:
        self.texts.append(kwargs["encoder_hidden_states"])
        self.steps.append(self.taken)


@pytest.fixture(scope="module")
def pipe(tiny):
    shown = tiny.pipe
    made = D.StableDiffusionPipeline(
        vae=shown.vae,
        text_encoder=shown.text_encoder,
        tokenizer=shown.tokenizer,
        unet=copy.deepcopy(shown.unet),  # wrappers leave marks on it
        scheduler=shown.scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    made.set_progress_bar_config(disable=True)
    return made


LAYERS = tuple(
    f"{block}.transformer_blocks.0.{kind}"
    for block in ("mid_block.attentions.0", "up_blocks.0.attentions.0")
    for kind in ("attn1", "attn2")
)


@settings(
    max_examples=examples(15),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    names=st.lists(st.sampled_from(LAYERS), min_size=1, max_size=3, unique=True),
    keep=st.sampled_from([*RECORDERS]),
    over_steps=st.sampled_from([None, "each"]),
    steps=st.sampled_from([None, (0,), (1, 2), (7,)]),
    prompts=st.lists(st.sampled_from(TEXTS), min_size=1, max_size=2),
    negative=st.sampled_from(TEXTS),
    guidance=st.sampled_from([1.0, 4.0]),
    count=st.integers(1, 3),
    scheduler=st.sampled_from(SCHEDULERS),
    wrap=st.sampled_from([*WRAPPERS]),
    item=st.sampled_from([None, "cond", "uncond", 0, -1, 5]),
    step=st.sampled_from([None, 0, 1, 2]),
)
def test_a_capture_is_the_truth_or_refuses(
    pipe, names, keep, over_steps, steps, prompts, negative, guidance, count, scheduler, wrap, item,
    step,
):  # fmt: skip
    names = [name for name in LAYERS if name in names]
    bare = pipe.unet
    pipe.scheduler = scheduler.from_config(pipe.scheduler.config)
    try:
        pipe.unet = WRAPPERS[wrap](bare)
        layers = ap.Layers(names=tuple(names))
        with Truth(pipe, bare, names) as truth:
            try:
                with ap.capture(
                    pipe.unet, layers, keep, steps=steps, over_steps=over_steps
                ) as seen:
                    pipe(
                        prompts,
                        negative_prompt=[negative] * len(prompts),
                        guidance_scale=guidance,
                        num_inference_steps=count,
                        height=64,
                        width=64,
                        output_type="latent",
                        generator=torch.Generator().manual_seed(0),
                    )
            except CaptureError as error:
                check_no_step_ran(str(error), steps, truth)
                return
    finally:
        pipe.unet = bare
    check(seen, truth, RECORDERS[keep], steps, item, step, encoded(pipe, prompts, negative))


def check_no_step_ran(said: str, steps, truth) -> None:
    assert "none of the steps chosen ran" in said
    assert steps is not None
    assert not {*steps} & {*truth.steps}


def encoded(pipe, prompts, negative) -> tuple[list[torch.Tensor], torch.Tensor]:
    """The prompts' embeddings and the negative prompt's, by the text encoder itself."""

    def embed(text: str) -> torch.Tensor:
        tokens = pipe.tokenizer(text, padding="max_length", truncation=True, return_tensors="pt")
        with torch.no_grad():
            return pipe.text_encoder(tokens.input_ids)[0][0]

    return [embed(prompt) for prompt in prompts], embed(negative)


def check(seen, truth, reduce, steps, item, step, texts) -> None:
    """Every answer against the test's own computation."""
    wanted = [i for i in sorted({*truth.steps}) if steps is None or i in steps]
    each = seen.records.over_steps == "each"
    (rows,) = {len(text) for text in truth.texts}
    for name in truth.names:
        probs = [truth.probs[name][i] for i in wanted]
        values = [reduce(one) for one in probs]
        record = seen.records.records[name]
        kept = [k for passes in record.steps for k in passes]
        assert [s for k in kept for s in k.steps] == wanted
        for branches in (k.branches for k in kept):
            assert len(branches) == rows
            assert_told(branches, truth.texts[0], texts)
        given_back, refusal = asked(seen, name, item, step)
        if refusal:
            assert refused_rightly(refusal, item, step, rows, wanted, each, kept[0].branches)
            continue
        row = number(item, rows, truth.texts[0], texts)
        if each:
            expected = values[wanted.index(wanted[0] if step is None else step)][row]
        else:
            assert step is None
            expected = torch.stack(values).mean(0)[row]
        torch.testing.assert_close(given_back.double(), expected, rtol=1e-4, atol=1e-6)


def asked(seen, name, item, step) -> tuple[torch.Tensor, str]:
    """What is answered, or why it is refused."""
    try:
        return seen.at(name, item, step), ""
    except CaptureError as error:
        return torch.empty(0), str(error)


def is_text(row: torch.Tensor, text: torch.Tensor) -> bool:
    return torch.allclose(row, text, rtol=1e-4, atol=1e-5)


def assert_told(branches, given, texts) -> None:
    """A name is true of the row's text, and of no other branch's."""
    good, bad = texts
    for row, name in zip(given, branches, strict=True):
        if name == "cond":
            assert any(is_text(row, text) for text in good)
            assert not is_text(row, bad)
        elif name == "uncond":
            assert is_text(row, bad)
            assert not any(is_text(row, text) for text in good)
    if len(given) == len(good):
        assert {*branches} == {None}


def number(item, rows, given, texts) -> int:
    """The row that an item means, by its text."""
    if isinstance(item, int):
        return item % rows
    if rows == 1:
        assert item is None
        return 0
    good, bad = texts
    wanted = [bad] if item == "uncond" else good
    fitting = [i for i, row in enumerate(given) if any(is_text(row, text) for text in wanted)]
    (row,) = fitting
    return row


def refused_rightly(said, item, step, rows, wanted, each, branches) -> bool:
    """Whether there was a reason, and it is the one that is told."""
    if "the steps were averaged" in said:
        return not each and step is not None
    if "each step of" in said:
        return each and step not in wanted
    if "item must be" in said:
        return isinstance(item, int) and not -rows <= item < rows
    fitting = [name for name in branches if name == (item or "cond")]
    if "rows that are" in said:
        return len(fitting) > 1
    return "isn't known" in said and not fitting and (item is not None or rows > 1)


class Loop:
    """A user's loop, as a list of passes: (timestep, which latents, which text)."""

    passes = st.lists(
        st.tuples(st.sampled_from([900, 500, 100]), st.integers(0, 1), st.integers(0, 1)),
        min_size=1,
        max_size=7,
    )


@settings(max_examples=examples(20), deadline=None)
@given(passes=Loop.passes, over_steps=st.sampled_from([None, "each"]))
def test_passes_of_any_loop_are_averaged_with_their_like_only(passes, over_steps):
    """A mean is over steps of one text, one pass of each step; a step is a run of one timestep."""
    unet = small_unet()
    latents, texts = torch.randn(2, 1, 4, 8, 8), torch.randn(2, 1, 7, 24)
    name = "mid_block.attentions.0.transformer_blocks.0.attn2"
    alone = []
    with torch.no_grad():
        with ap.capture(unet, ap.Layers(names=name), over_steps=over_steps) as seen:
            for timestep, latent, text in passes:
                unet(latents[latent], timestep, texts[text])
        for timestep, latent, text in passes:
            with ap.capture(unet, ap.Layers(names=name)) as one:
                unet(latents[latent], timestep, texts[text])
            alone.append(one[name][0])
    steps, places = [], {}
    for index, (timestep, _, text) in enumerate(passes):
        new = index == 0 or timestep != passes[index - 1][0]
        steps.append(steps[-1] + new if steps else 0)
        before = [i for i in range(index) if steps[i] == steps[index] and passes[i][2] == text]
        places.setdefault((text, len(before)), []).append(index)
    if over_steps == "each":
        record = seen.records.records[name]
        assert [kept.steps for step in record.steps for kept in step] == [(s,) for s in steps]
        flat = [kept.parts()[""][0] for step in record.steps for kept in step]
        for mine, truth in zip(flat, alone, strict=True):
            torch.testing.assert_close(mine, truth)
        return
    kept = seen.records.records[name].steps[0]
    expected = sorted(places.values())
    assert [each.steps for each in kept] == [tuple(steps[i] for i in group) for group in expected]
    for row, group in enumerate(expected):
        mean = torch.stack([alone[i] for i in group]).mean(0)
        torch.testing.assert_close(seen.at(name, row), mean, rtol=1e-5, atol=1e-7)
    if len(expected) > 1:
        with pytest.raises(CaptureError, match="isn't known"):
            seen.at(name)


def test_peft_around_a_pipeline_s_denoiser(pipe):
    """The wrapper's passes are the pipeline's: branches and steps are told as of the bare one."""
    bare = pipe.unet
    name = LAYERS[1]
    maps = []
    for wrapped in (False, True):
        try:
            if wrapped:
                config = LoraConfig(target_modules=["to_q"], r=2)
                pipe.unet = get_peft_model(copy.deepcopy(bare), config).eval()
            with ap.capture(pipe.unet, ap.Layers(names=name)) as seen:
                pipe(
                    "a red disc",
                    num_inference_steps=2,
                    height=64,
                    width=64,
                    output_type="latent",
                    generator=torch.Generator().manual_seed(0),
                )
        finally:
            pipe.unet = bare
        assert seen.records.branches == ("uncond", "cond")
        maps.append(seen.at(name))
    torch.testing.assert_close(maps[1], maps[0], rtol=1e-4, atol=1e-6)
