"""Where words lie, of random prompts, against what an encoder is given: its ids spelled out again.

Small vocabularies in the forms of CLIP's, T5's, Qwen's and Gemma's tokenizers. The truth reads no
offsets: the ids' own pieces are laid one after the other over the prompt's bytes.
"""

import random
import re
import unicodedata

import pytest
import torch
from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import CLIPTokenizer, PreTrainedTokenizerFast

from attnprobe.errors import CaptureError
from attnprobe.hooks import TokenMaps
from attnprobe.models import Model
from tests.models import families

WORDS = [
    *(
        "a",
        "cat",
        "sofa",
        "tomcat",
        "Red",
        "disc",
        "photograph",
        "on",
        "by",
        "über",
        "naïve",
        "Łódź",
    ),
    *(
        "дом",
        "Москва",
        "σοφία",
        "猫",
        "黒猫",
        "一只狗",
        "ねこ",
        "고양이",
        "🐈",
        "👩‍🚀",
        "❤️",
        "🇨🇭",
        "1984",
    ),
    *("cat's", "well-known", "don't", "(star:1.2)", "w/o", "…", "naïveté", "ａｂ"),
]
PARTS = [" ", " ", " ", ", ", ". ", "  ", "\n", " - "]
BYTES = pre_tokenizers.ByteLevel.alphabet()
SENTENCES = ["a cat on a sofa by a red disc", "a photograph of a tomcat", "дом Москва star naïve"]


def prompts(count: int = 500) -> list[str]:
    """Random words and what parts them; the first is empty, every tenth is long."""
    dice = random.Random(0)
    made = [""]
    while len(made) < count:
        words = dice.choices(WORDS, k=60 if len(made) % 10 == 0 else dice.randint(1, 9))
        made.append("".join(word + dice.choice(PARTS) for word in words).strip())
    return made


PROMPTS = prompts()


def clip(**options) -> CLIPTokenizer:
    signs = sorted(BYTES)
    merges = ["c a", "ca t</w>", "s o", "so f", "sof a</w>", "d i", "di s", "o n</w>", "n a"]
    pairs = [tuple(merge.split()) for merge in merges]
    pieces = [*signs, *(f"{sign}</w>" for sign in signs), *("".join(pair) for pair in pairs)]
    known = ["<|startoftext|>", "<|endoftext|>", *pieces]
    vocabulary = {piece: number for number, piece in enumerate(known)}
    return CLIPTokenizer(vocabulary, pairs, model_max_length=77, **options)


def t5() -> PreTrainedTokenizerFast:
    """Unigrams of Latin and Cyrillic; other signs are unknown, several in a row one token."""
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " ")]
    )
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    made.train_from_iterator(SENTENCES * 5, trainer)
    made.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=128, **names)


def qwen() -> PreTrainedTokenizerFast:
    made = Tokenizer(models.BPE())
    made.normalizer = normalizers.NFC()
    split = (
        r"'s|'t|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_end|>", "<s>", "<|im_start|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=special, initial_alphabet=BYTES, show_progress=False
    )
    made.train_from_iterator(SENTENCES, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        model_max_length=512,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
    )


def gemma() -> PreTrainedTokenizerFast:
    """Pairs over signs, spaces as ▁, bytes where a sign isn't known, and a start before it all."""
    letters = sorted({*"".join(SENTENCES).replace(" ", "▁")})
    merges = [("c", "a"), ("ca", "t"), ("▁", "cat"), ("s", "o"), ("▁", "so"), ("▁", "a")]
    known = ["<pad>", "<eos>", "<unk>", "<bos>", *(f"<0x{byte:02X}>" for byte in range(256))]
    known += [*letters, *("".join(pair) for pair in merges)]
    made = Tokenizer(
        models.BPE(
            {piece: number for number, piece in enumerate(known)},
            merges,
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    made.normalizer = normalizers.Replace(" ", "▁")
    made.post_processor = processors.TemplateProcessing("<bos> $A", special_tokens=[("<bos>", 3)])
    names = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>", "bos_token": "<bos>"}
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=256, **names)


def byte_of() -> dict[str, int]:
    """GPT-2's table: printable bytes are themselves, the others signs from 256 on."""
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(byte): byte for byte in own}
    others = [byte for byte in range(256) if byte not in own]
    return table | {chr(256 + place): byte for place, byte in enumerate(others)}


TABLE = byte_of()


def spelled_bytes(pieces: list[str]) -> list[bytes]:
    return [bytes(TABLE[sign] for sign in piece.removesuffix("</w>")) for piece in pieces]


def spelled_gemma(pieces: list[str]) -> list[bytes]:
    each = [re.fullmatch("<0x(..)>", piece) for piece in pieces]
    return [
        bytes.fromhex(byte[1]) if byte else piece.replace("▁", " ").encode()
        for piece, byte in zip(pieces, each, strict=True)
    ]


def spelled_t5(text: str, pieces: list[str]) -> list[bytes]:
    """An unknown token is whatever stands between the pieces that are known."""
    parts = [
        "(.+?)" if piece == "<unk>" else re.escape(piece.replace("▁", " ")) for piece in pieces
    ]
    found = re.fullmatch("".join(part if part[0] == "(" else f"({part})" for part in parts), text)
    assert found, (text, pieces)
    return [part.encode() for part in found.groups()]


def truth(kind: str, tokenizer, prompt: str, start: int, stop: int) -> list[int]:
    """The places of the tokens whose bytes are those of the prompt's characters start to stop."""
    ids = tokenizer(prompt, verbose=False).input_ids
    pieces = tokenizer.convert_ids_to_tokens(ids)
    first = 1 if kind in ("clip", "clip g", "gemma") else 0
    last = len(pieces) - (kind in ("clip", "clip g", "t5"))
    text = [*prompt]  # what each character is made into
    if kind.startswith("clip"):
        text = ["" if sign.isspace() else sign.lower() for sign in prompt]
    elif kind == "t5":
        folded = [unicodedata.normalize("NFKC", sign) for sign in prompt]
        gaps = [sign.isspace() for sign in prompt]
        text = [
            " " if gap and not (place and gaps[place - 1]) else "" if gap else sign
            for place, (sign, gap) in enumerate(zip(folded, gaps, strict=True))
        ]
    if kind == "t5":
        spelled = spelled_t5(" " + "".join(text), pieces[first:last])
        before = 1
    else:
        spell = spelled_gemma if kind == "gemma" else spelled_bytes
        spelled, before = spell(pieces[first:last]), 0
        assert b"".join(spelled) == "".join(text).encode(), (prompt, pieces)
    low = before + len("".join(text[:start]).encode())
    high = before + len("".join(text[:stop]).encode())
    places, at = [], 0
    for place, part in enumerate(spelled, start=first):
        if at < high and at + len(part) > low:
            places.append(place)
        at += len(part)
    return places


def first_words(prompt: str) -> list[tuple[str, int]]:
    """Words of a prompt that stand nowhere before their place, and where that is."""
    found, at = {}, 0
    for word in re.findall(r"\S+", prompt):
        start = prompt.index(word, at)
        at = start + len(word)
        bare = word.strip(",.")
        if bare in WORDS and prompt.lower().find(bare.lower()) == start:
            found[bare] = start
    return [*found.items()]


MAKERS = {
    "clip": clip,
    "clip g": lambda: clip(pad_token="!"),
    "t5": t5,
    "qwen": qwen,
    "gemma": gemma,
}


@pytest.mark.parametrize("kind", MAKERS)
def test_places_are_those_of_the_encoders_own_input(kind):
    """500 prompts: of each up to two words, or that they are cut off."""
    tokenizer, checked, cut = MAKERS[kind](), 0, 0
    limit = tokenizer.model_max_length
    dice = random.Random(1)
    ends = 1 if kind in ("clip", "clip g", "t5") else 0
    for prompt in PROMPTS:
        given = tokenizer(prompt, padding="max_length", truncation=True, max_length=limit).input_ids
        words = first_words(prompt)
        for word, start in dice.sample(words, min(2, len(words))):
            expected = truth(kind, tokenizer, prompt, start, start + len(word))
            if max(expected) >= limit - ends:
                with pytest.raises(CaptureError, match="is cut off"):
                    TokenMaps.of(tokenizer, prompt, word)
                cut += 1
                continue
            places = TokenMaps.of(tokenizer, prompt, word).tokens[word]
            assert [*places] == expected, (prompt, word)
            whole = tokenizer(prompt, verbose=False).input_ids
            assert [given[place] for place in places] == [whole[place] for place in places]
            checked += 1
    assert checked > 500
    assert cut > 5 or limit > 256


def said(spell, pieces) -> str:
    """What tokens spell; nothing where special ones are among them."""
    try:
        return b"".join(spell(pieces)).decode(errors="replace").strip()
    except KeyError:
        return ""


FAMILIES = {"t5": families.chroma, "qwen": families.qwen_image, "gemma": families.lumina2}


@pytest.mark.parametrize("kind", FAMILIES)
def test_places_inside_a_pipelines_template(kind, monkeypatch):
    """In the text that the denoiser is handed, behind what a family writes before the prompt.

    The ids that the text encoder was given spell the word at these places, counted from the same
    token in every prompt: a family cuts off the same template before each.
    """
    tokenizer, spell = MAKERS[kind](), spelled_bytes if kind == "qwen" else spelled_gemma
    tokenizer.chat_template = families.CHAT
    monkeypatch.setattr(families, "tokenizer", lambda: tokenizer)
    torch.manual_seed(0)
    pipe = FAMILIES[kind]()
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    model, given = Model(pipe, torch.device("cpu"), kind), []
    pipe.text_encoder.register_forward_pre_hook(
        lambda module, args, kwargs: given.append(kwargs.get("input_ids", (*args, None)[0])),
        with_kwargs=True,
    )
    checked, starts = 0, set(range(200))
    for prompt in [*PROMPTS[1:9], "a cat on a sofa", "Москва, a red disc"]:
        for word, _ in first_words(prompt):
            folded = unicodedata.normalize("NFKC", word) != word
            if folded or tokenizer.unk_token_id in tokenizer(word).input_ids:
                continue  # no piece says it
            given.clear()
            try:
                places = TokenMaps.of(model, prompt, word).tokens[word]
            except CaptureError:  # tokens equal to others, such as unknown ones, have no one place
                continue
            pieces = tokenizer.convert_ids_to_tokens(given[0][0].tolist())
            last = len(pieces) - max(places)
            starts &= {
                start
                for start in range(last)
                if said(spell, [pieces[start + place] for place in places]) == word
            }
            assert starts, (prompt, word, pieces, places)
            checked += 1
    assert checked > 10
    assert len(starts) == 1


def test_an_empty_prompt_has_no_words():
    for make in MAKERS.values():
        with pytest.raises(CaptureError, match="the prompt is empty, so it has no word 'cat'"):
            TokenMaps.of(make(), "", "cat")
