"""Prompt sets: strict reading, complete coverage, sources, and wordings that stay apart."""

import csv
import re

import numpy as np
import pytest
import yaml

from ecglm.assets import asset
from ecglm.prompts import (
    all_training_texts,
    chat_template,
    combine_probabilities,
    compose,
    groups_of,
    load_prompts,
    ontology,
    prompt_sets,
    training_templates,
    training_texts,
)

SETS = [(name, group) for name in prompt_sets() for group in groups_of(name)]
GROUP_SIZES = {"super": 5, "sub": 23, "form": 19, "rhythm": 12}


def words(text: str) -> str:
    """Case-folded words with a space on either side, so that `in` compares whole words only."""
    return f" {' '.join(re.findall(r'[a-z0-9/()]+', text.casefold()))} "


@pytest.mark.parametrize(("name", "group"), SETS)
def test_each_set_covers_its_group_with_sourced_texts(name, group):
    prompts = load_prompts(name, group)
    assert len(prompts.labels) == len(set(prompts.labels)) == GROUP_SIZES[group]
    assert prompts.labels == load_prompts("ckepe/ptbxl", group).labels
    for label in prompts.labels:
        assert prompts.texts(label) and prompts.sources[label] and prompts.names[label]
        assert len(prompts.texts(label)) == len(set(prompts.texts(label)))


def test_labels_are_made_of_the_statements_that_the_ontology_assigns():
    for group, attribute in (("super", "superclass"), ("sub", "subclass")):
        prompts = load_prompts("ckepe/ptbxl", group)
        for label in prompts.labels:
            assigned = {
                code
                for code, entry in ontology().items()
                if (getattr(entry, attribute) or "").strip("_") == label
            }
            assert set(prompts.members[label]) == assigned
    for group in ("form", "rhythm"):
        assert set(load_prompts("ckepe/ptbxl", group).labels) == {
            code.strip("_") for code, entry in ontology().items() if group in entry.kind
        }


def test_ontology_agrees_with_the_publishers_table(ptbxl_root):
    with (ptbxl_root / "scp_statements.csv").open(encoding="utf-8") as file:
        rows = {row[""]: row for row in csv.DictReader(file)}
    assert set(rows) == set(ontology())
    for code, entry in ontology().items():
        assert (entry.superclass or "", entry.subclass or "") == (
            rows[code]["diagnostic_class"],
            rows[code]["diagnostic_subclass"],
        )
        assert entry.kind == tuple(kind for kind in ("diagnostic", "form", "rhythm") if rows[code][kind])


def test_no_training_wording_stands_for_two_statements():
    wordings = [
        text.casefold() for entry in ontology().values() for text in (entry.statement, *entry.synonyms)
    ]
    assert len(wordings) == len(set(wordings))
    assert all(5 <= len(entry.synonyms) <= 12 for entry in ontology().values())


def test_unseen_prompts_share_no_wording_with_training():
    seen = {words(text) for texts in all_training_texts().values() for text in texts}
    unseen = {
        words(text)
        for prompts in (load_prompts("zero_shot/ptbxl_unseen", group) for group in GROUP_SIZES)
        for label in prompts.labels
        for text in prompts.texts(label)
    }
    everything = "|".join(seen)
    assert [text for text in unseen if text in everything] == []
    assert [(old, text) for text in unseen for old in seen if old in text] == []


def test_training_texts_are_reproducible_varied_and_listed():
    codes = ["IMI", "SR", "CLBBB"] * 40
    texts = training_texts(codes, np.random.default_rng(3))
    assert texts == training_texts(codes, np.random.default_rng(3))
    possible = all_training_texts()
    assert all(text in possible[code] for code, text in zip(codes, texts, strict=True))
    assert len(set(texts)) > 30
    plain = training_texts(["IMI", "SR"], np.random.default_rng(0), synonyms=0, templates=0)
    assert plain == ["inferior myocardial infarction", "sinus rhythm"]
    with pytest.raises(ValueError, match="no SCP statement 'LBBB'"):
        training_texts(["LBBB"], np.random.default_rng(0))


def test_members_keep_paraphrases_apart():
    prompts = load_prompts("ckepe/ptbxl:super")
    assert prompts == load_prompts("ckepe/ptbxl", "super")
    assert prompts.combine == "noisy_or"
    assert [len(x) for x in prompts.texts_by_member("CD")] == [2] * 11
    assert prompts.texts("CD") == [text for member in prompts.texts_by_member("CD") for text in member]
    with pytest.raises(ValueError, match=r"no label 'LBBB'; it has NORM, MI"):
        prompts.texts("LBBB")


def test_combination_of_members():
    p = np.array([[0.5, 0.5], [0.0, 0.2]])
    np.testing.assert_allclose(combine_probabilities(p, "noisy_or"), [0.75, 0.2])
    np.testing.assert_allclose(combine_probabilities(p, "mean"), [0.5, 0.1])
    np.testing.assert_allclose(combine_probabilities(p, "max"), [0.5, 0.2])
    np.testing.assert_allclose(combine_probabilities(np.full((1, 3), 1e-12), "noisy_or"), [3e-12])
    with pytest.raises(ValueError, match="allowed are noisy_or"):
        combine_probabilities(p, "sum")


def test_compose_fills_templates():
    assert compose(["{x}", "has {x}"], ["AF"]) == ["AF", "has AF"]
    assert all("{x}" in template for template in training_templates())
    with pytest.raises(ValueError, match="exactly once"):
        compose(["nothing"], ["AF"])


GOOD = {
    "name": "own/set",
    "combine": "mean",
    "sources": {"a": "a book"},
    "statements": {"X": {"name": "x", "prompts": ["an x"], "source": ["a"]}},
    "groups": {"one": {"L": {"members": ["X"], "source": ["a"]}}},
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "red"}, "has no key 'colour'"),
        ({"combine": "sum"}, "combine is 'sum'"),
        ({"groups": {"one": {"L": {"members": ["Y"], "source": ["a"]}}}}, "members Y"),
        ({"groups": {"one": {"L": {"members": ["X"]}}}}, "names no source"),
        ({"groups": {"one": {"L": {"prompts": ["x"], "source": ["b"]}}}}, "cites b"),
        (
            {"groups": {"one": {"L": {"prompts": ["x"], "source": ["a"], "prompt": "x"}}}},
            "has no key 'prompt'",
        ),
        ({"groups": {"one": {"L": {"source": ["a"]}}}}, "either members or prompts"),
        ({"statements": {"X": {"name": "x", "prompts": ["an x"]}}}, "source must be a list"),
        ({"groups": {"one": {False: {"prompts": ["x"], "source": ["a"]}}}}, "quote it"),
    ],
)
def test_a_broken_file_is_refused_by_name(tmp_path, change, message):
    path = tmp_path / "set.yaml"
    path.write_text(yaml.safe_dump(GOOD))
    assert load_prompts(path).texts("L") == ["an x"]
    broken = tmp_path / "broken.yaml"
    broken.write_text(yaml.safe_dump(GOOD | change))
    with pytest.raises(ValueError, match=message) as caught:
        load_prompts(broken)
    assert "\n" not in str(caught.value)


def test_unknown_sets_and_groups_are_named():
    with pytest.raises(FileNotFoundError, match="did you mean 'ckepe/ptbxl'"):
        load_prompts("ckepe/ptbx")
    with pytest.raises(ValueError, match="write one of ckepe/ptbxl:super, ckepe/ptbxl:sub"):
        load_prompts("ckepe/ptbxl")
    with pytest.raises(ValueError, match="no group 'all'"):
        load_prompts("ckepe/ptbxl:all")
    with pytest.raises(ValueError, match="give one of the two"):
        load_prompts("ckepe/ptbxl:super", "sub")


def test_chat_template_renders_question_and_answer():
    jinja2 = pytest.importorskip("jinja2")
    template = jinja2.Environment().from_string(chat_template("plain"))
    turns = [{"role": "user", "content": "<ecg>"}, {"role": "assistant", "content": "Sinus rhythm."}]
    told = template.render(messages=turns, bos_token="<s>", eos_token="</s>")
    assert told == "<s><ecg>\nSinus rhythm.</s>"
    with pytest.raises(ValueError, match="there are plain"):
        chat_template("poem")


def test_every_file_of_the_wing_is_listed_in_its_readme():
    readme = asset("prompts/README.md").read_text(encoding="utf-8")
    for path in asset("prompts").rglob("*"):
        if path.suffix in (".yaml", ".jinja"):
            assert path.relative_to(asset("prompts")).as_posix() in readme
