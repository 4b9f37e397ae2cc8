"""Every benchmark of `eval/`: read strictly, complete, and with texts for all of its classes."""

import pytest

from ecglm.assets import asset, list_statements
from ecglm.datasets import simulated
from ecglm.evaluation import load_benchmark
from ecglm.evaluation.classification import ClassificationBenchmark
from ecglm.prompts import groups_of, load_prompts, prompt_sets

NAMES = list_statements("eval")
CLASSIFICATION = [name for name in NAMES if name.startswith("classification/")]


@pytest.mark.parametrize("name", NAMES)
def test_names_its_command_and_is_refused_with_an_unknown_key(name):
    text = asset(f"eval/{name}.yaml").read_text(encoding="utf-8")
    assert f"#   ecglm eval {name} --model DIR" in text, "the head comment holds the command"
    assert load_benchmark(name).name == name
    for key in ("colour", "data.colour", "bootstrap.colour"):
        with pytest.raises(ValueError, match="'colour'"):
            load_benchmark(name, [f"{key}=1"])


@pytest.mark.parametrize("name", NAMES)
def test_published_figures_have_a_source(name):
    for row in load_benchmark(name).reference:
        assert 0 < row.value < 1 and row.source.startswith(("arXiv:", "doi:")), row
        assert "," in row.source, "say which table or row of the paper"


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_classes_are_those_of_the_corpus_and_the_prompt_sets_have_them(name):
    benchmark: ClassificationBenchmark = load_benchmark(name)
    known = simulated.class_names(benchmark.data["labels"])
    assert set(benchmark.classes) <= set(known)
    if benchmark.data["name"] == "ptbxl":
        assert set(benchmark.classes) == set(known), "a class of the corpus is missing"
    having = [prompts for prompts in prompt_sets() if benchmark.group in groups_of(prompts)]
    assert benchmark.prompts in having
    for prompts in having:
        texts = load_prompts(prompts, benchmark.group)
        assert set(benchmark.classes) <= set(texts.labels), f"{prompts} lacks classes of {name}"
        assert all(texts.texts(label) for label in benchmark.classes)
