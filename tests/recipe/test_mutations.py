"""Mutated recipes, as files on the command line: each is told to be fine or told its faults.

`ATTNPROBE_MUTATIONS=2000` makes that many; mutation n is the same on every machine.
"""

import os
import random
import re
import subprocess
import sys

from attnprobe.recipe.shipped import folder, shipped
from tests.recipe.conftest import RECIPE
from tests.recipe.test_fuzz import PIECES

COUNT = int(os.environ.get("ATTNPROBE_MUTATIONS", "200"))

SWEPT = f"{RECIPE}sweep:\n  grid:\n    group.anchors: [8, 4]\n    seed: [1, 2]\n"
EXTENDS = "extends: diffseg\nname: child\ngroup: {anchors: 8}\nsweep: {zip: {seed: [1, 2]}}\n"
TOKEN = re.compile(r"[\w.]+|\s+|[^\w\s]")
VALUES = ["~", "true", "-1", "0", "1e400", "0.5", "'8'", "[]", "{}", "[[1], {a: b}]", "&a [1]",
          "*a", "text", "{use: kmeans}", "9" * 400, "!!set {a}", "|\n  x", "0o17"]  # fmt: skip


def mutated(number):
    """A recipe's bytes after one to four mutations of bytes, lines, tokens or values."""
    dice = random.Random(number)
    ours = [path.read_text(encoding="utf-8") for path in shipped().values()]
    content = dice.choice([RECIPE, SWEPT, EXTENDS, *ours]).encode()
    for _ in range(dice.randint(1, 4)):
        content = dice.choice([in_bytes, in_lines, in_tokens, in_values])(content, dice)
    return content


def in_bytes(content, dice):
    data = bytearray(content)
    for _ in range(dice.randint(1, 5)):
        at = dice.randrange(len(data) + 1)
        data[at : at + dice.randint(0, 3)] = dice.randbytes(dice.randint(0, 2))
    return bytes(data)


def in_lines(content, dice):
    lines = content.splitlines(keepends=True) or [b""]
    at, to = dice.randrange(len(lines)), dice.randrange(len(lines))
    match dice.randrange(5):
        case 0:
            del lines[at]
        case 1:
            lines.insert(to, lines[at])
        case 2:
            lines[at], lines[to] = lines[to], lines[at]
        case 3:
            lines[at] = dice.choice([b" ", b"  ", b"\t", b"- ", b"# "]) + lines[at]
        case 4:
            lines[at] = lines[at].lstrip()
    return b"".join(lines)


def in_tokens(content, dice):
    return spliced(TOKEN, content, dice, PIECES)


def in_values(content, dice):
    return spliced(re.compile(r"(?<=: )[^\s,}]+|\[[^]]*\]|\{[^}]*\}"), content, dice, VALUES)


def spliced(pattern, content, dice, pieces):
    """One match of the pattern replaced by a piece, by another match, or by nothing."""
    text = content.decode("utf-8", "surrogateescape")
    found = list(pattern.finditer(text))
    if not found:
        return content
    old = dice.choice(found)
    new = dice.choice([dice.choice(pieces), dice.choice(found)[0], ""])
    text = text[: old.start()] + new + text[old.end() :]
    return text.encode("utf-8", "surrogateescape")


def test_no_mutated_recipe_ends_in_a_traceback(tmp_path):
    names = [f"{number:05}.yaml" for number in range(COUNT)]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(mutated(number))
    command = [sys.executable, "-m", "attnprobe", "validate", *names]
    root = str(folder().parent)
    result = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": root}, capture_output=True,
        check=False,
    )  # fmt: skip
    out, err = result.stdout.decode(), result.stderr.decode()
    assert result.returncode == 2, err
    assert "Traceback" not in err
    assert "--debug shows" not in err  # as the sentence for what nobody foresaw ends
    fine = {line.partition(":")[0] for line in out.splitlines()}
    told = {line.split(":")[1].strip() for line in err.splitlines()}
    assert fine | told >= set(names)
    assert not fine & told
    assert 0.02 * COUNT < len(fine) < 0.5 * COUNT  # neither too tame nor all the same
