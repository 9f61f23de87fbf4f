"""The table of dropped, doubled and foreign words: which object of a scene it is about."""

from attnprobe.data.scenes import make_scene
from benchmarks.words_in_prompts import chosen


def test_the_object_chosen_is_the_only_one_of_its_noun_and_colour():
    found = 0
    for number in range(30):
        scene = make_scene("test", number)
        target = chosen(scene)
        if target is None:
            continue
        label, colour, noun = target
        words = scene.caption.replace(",", "").split()
        assert scene.names.index(noun) == label > 0
        assert (scene.labels == label).any()
        assert words.count(noun) == words.count(colour) == 1
        place = words.index(noun)
        assert words[place - 3 : place] == ["a", colour, words[place - 1]]
        found += 1
    assert found > 10
