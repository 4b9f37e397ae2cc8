import re
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from transformers import IntervalStrategy

from ecglm import assets


def test_numbers_are_numbers():
    assert assets.read_yaml("[1e-3, 1.5e6, .5, 3, -2.0, on, 1e-8]") == [1e-3, 1.5e6, 0.5, 3, -2.0, True, 1e-8]


def test_broken_yaml_names_the_place():
    with pytest.raises(ValueError, match="line 2"):
        assets.read_yaml("a: 1\nb: [1,")


def test_python_tags_are_refused():
    with pytest.raises(ValueError, match="python/object"):
        assets.read_yaml("!!python/object/apply:os.system ['true']")


def test_unknown_keys_get_a_suggestion():
    with pytest.raises(ValueError, match="'trainer' has no key 'learnin_rate'; did you mean 'learning_rate'"):
        assets.refuse_unknown("recipe section 'trainer'", ["learnin_rate"], ["learning_rate", "seed"])
    with pytest.raises(ValueError, match="it takes learning_rate, seed"):
        assets.refuse_unknown("x", ["zzz"], ["learning_rate", "seed"])


@pytest.mark.parametrize(
    ("hint", "good", "bad", "words"),
    [
        (float, [1, 0.5, np.float32(2)], ["abc", True, None], "a number"),
        (int, [1, np.int64(2)], [1.5, True, "1"], "a whole number"),
        (bool, [True], [1, "yes"], "true or false"),
        (str | PathLike | None, ["x", Path("x"), None], [3, ["x"]], "text or null"),
        (
            Sequence[int] | None,
            [[8], range(3), (1,), None],
            [8, "8", ["x"]],
            r"a list \(a whole number each\)",
        ),
        (dict[str, float], [{}, {"p": 1}], [3, [1]], "keys with values"),
        (Literal["minmax"] | None, ["minmax", None], ["max"], "'minmax' or null"),
        (IntervalStrategy | str, ["steps"], [3], "text"),
        (Any, [1, None, "x"], [], ""),
    ],
)
def test_values_of_another_type_are_refused_in_words(hint, good, bad, words):
    for value in good:
        assets.refuse_wrong_types("section", {"key": value}, {"key": hint})
    for value in bad:
        with pytest.raises(
            ValueError, match=f"section: key must be .*{words}.*; got {re.escape(repr(value))}"
        ):
            assets.refuse_wrong_types("section", {"key": value}, {"key": hint})


def test_overrides_reach_into_sections_and_leave_the_original():
    content = {"data": {"root": None}, "system": "merl"}
    changed = assets.apply_overrides(
        content, ["data.root=/x", "data.folds=[1, 2]", "trainer.learning_rate=1e-3"]
    )
    assert changed["data"] == {"root": "/x", "folds": [1, 2]}
    assert changed["trainer"]["learning_rate"] == 1e-3
    assert content == {"data": {"root": None}, "system": "merl"}
    for bad in ("data.root", "=3", "system.x=1"):
        with pytest.raises(ValueError, match="no se"):
            assets.apply_overrides(content, [bad])


def test_a_misspelt_recipe_is_suggested():
    with pytest.raises(FileNotFoundError, match="did you mean 'merl/pretrain'"):
        assets.find_statement("training", "merl/pretrian")
    with pytest.raises(FileNotFoundError, match="ecglm ls"):
        assets.asset("training/nothing.yaml")
