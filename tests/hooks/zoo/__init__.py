"""Denoisers of many families, each tiny and random, with what a capture must find in them."""

from tests.hooks.zoo import (
    images,
    images_more,
    lists,
    lists_more,
    unets,
    unets_more,
    unets_others,
    videos,
    videos_more,
)

CASES = (
    *unets.CASES,
    *unets_more.CASES,
    *unets_others.CASES,
    *images.CASES,
    *images_more.CASES,
    *lists.CASES,
    *lists_more.CASES,
    *videos.CASES,
    *videos_more.CASES,
)
