"""The nouns of an English text, by a tagger whose lexicon comes with it."""

from __future__ import annotations

from attnprobe.errors import ComponentError
from attnprobe.extras import extra


def nouns(text: str) -> tuple[str, ...]:
    """The nouns of an English text, each once, in order.

    TextBlob's tagger (the lexicon and rules of Pattern, De Smedt and Daelemans 2012): nouns in the
    singular and plural, not proper ones.

    Raises:
        ComponentError: the text has none.
        AttnProbeError: TextBlob isn't installed.

    Examples:
        >>> nouns("two dogs on a green sofa")
        ('dogs', 'sofa')
    """
    with extra("words", "finding a text's nouns"):
        from textblob.taggers import PatternTagger
    found = tuple(dict.fromkeys(w for w, tag in PatternTagger().tag(text) if tag in ("NN", "NNS")))
    if not found:
        raise ComponentError(f"the text {text!r} has no noun that is known; give words")
    return found
