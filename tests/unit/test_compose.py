from collections import Counter
from itertools import islice

import pytest

from embedloom.data.languages import language_weights, languages
from embedloom.errors import RecipeError
from embedloom.records import Demonstration, Document, Task
from embedloom.synth.compose import compose, cut
from embedloom.synth.draw import Weighted, choose, shuffled, uniform
from embedloom.synth.families import FAMILY, PAPER_SHARES

TASKS = [Task(name, f"Given a text, retrieve its {name} partner.") for name in FAMILY] + [
    Task("short-long", "Given a question, retrieve the answer.", weight=3.0)
]
PASSAGES = [Document(str(n), f"Passage {n} tells of thing {n}.", title=f"Title {n}") for n in range(20)]
ALL = {**dict.fromkeys(PAPER_SHARES, 10), "grounded": 10}


def prompts(counts=ALL, *, seed=5, style="chat", **more):
    return list(compose(seed=seed, counts=counts, style=style, tasks=TASKS, passages=PASSAGES, **more))


def test_every_family_gets_what_was_asked_and_ids_differ() -> None:
    found = prompts()
    assert Counter(prompt.family for prompt in found) == ALL
    assert len({prompt.id for prompt in found}) == len(found)
    assert [prompt.index for prompt in found] == list(range(len(found)))


def test_more_of_all_leaves_the_first_as_they_were() -> None:
    twice = prompts({name: 2 * count for name, count in ALL.items()})
    assert twice[: len(ALL) * 10] == prompts()


@pytest.mark.parametrize("name", FAMILY)
def test_more_of_one_family_keeps_every_id(name: str) -> None:
    before = {prompt.id for prompt in prompts()}
    after = {prompt.id for prompt in prompts({**ALL, name: 17})}
    assert before < after


def test_another_seed_draws_otherwise() -> None:
    assert not {prompt.id for prompt in prompts()} & {prompt.id for prompt in prompts(seed=6)}


def test_first_part_holds_the_shares() -> None:
    counts = {name: 2 * int(thousands) for name, thousands in PAPER_SHARES.items()}
    tenth = sum(counts.values()) // 10
    first = Counter(
        prompt.family for prompt in islice(compose(seed=1, counts=counts, style="chat", tasks=TASKS), tenth)
    )
    for name, count in counts.items():
        assert abs(first[name] - count / 10) <= 1


def test_prompt_says_what_was_drawn() -> None:
    for prompt in prompts():
        for value in prompt.blanks.values():
            assert value in prompt.body
        if FAMILY[prompt.family].has_tasks:
            assert prompt.instruction in prompt.prefix
        assert {name for name, _ in FAMILY[prompt.family].blanks} <= set(prompt.blanks)
        assert prompt.keys == FAMILY[prompt.family].keys


def test_bitext_draws_two_languages_in_either_order() -> None:
    found = prompts({"bitext": 400}, languages={"English": 1, "German": 1})
    pairs = Counter((prompt.blanks["source_language"], prompt.blanks["target_language"]) for prompt in found)
    assert set(pairs) == {("English", "German"), ("German", "English")}
    assert min(pairs.values()) > 150


def test_passages_are_drawn_without_replacement() -> None:
    found = prompts({"grounded": 45})
    first, second, third = ([prompt.passage_id for prompt in found[at : at + 20]] for at in (0, 20, 40))
    assert sorted(first) == sorted(second) == sorted(document.id for document in PASSAGES)
    assert first != second
    assert len(third) == 5
    assert found[0].passage == f"Title {first[0]} Passage {first[0]} tells of thing {first[0]}."


def test_weights_of_tasks_hold() -> None:
    found = prompts({"short-long": 2000})
    share = sum(prompt.instruction.startswith("Given a question") for prompt in found) / 2000
    assert share == pytest.approx(0.75, abs=0.03)


def test_base_style_shares_its_prefix_and_stops_at_the_line() -> None:
    shots = (Demonstration("One passage.", "one query"), Demonstration("Two\npassage.", "two query"))
    task = Task("grounded", "Find it.", query_name="Claim", passage_name="Abstract", demonstrations=shots)
    found = list(compose(seed=1, counts={"grounded": 20}, style="base", tasks=[task], passages=PASSAGES))
    assert len({prompt.prefix for prompt in found}) == 2
    for prompt in found:
        assert prompt.prefix.endswith(
            "Abstract: One passage.\nClaim: one query\n\nAbstract: Two passage.\nClaim: two query\n\n"
        )
        assert prompt.body == f"Abstract: {prompt.passage}\nClaim:"
        assert prompt.stop == ("\n",)
        assert prompt.keys == ()


def test_value_that_looks_like_a_blank_stays() -> None:
    odd = [Document("a", "Write {{task}} and {{passage}} here, in {braces}.")]
    (prompt,) = compose(seed=1, counts={"grounded": 1}, style="base", tasks=TASKS, passages=odd)
    assert "Write {{task}} and {{passage}} here, in {braces}." in prompt.body


def test_long_passages_are_cut_in_the_prompt_alone() -> None:
    long = [Document("a", "word " * 500), Document("b", "字" * 900)]
    found = list(compose(seed=1, counts={"grounded": 2}, style="base", tasks=TASKS, passages=long, passage_words=30))
    by_id = {prompt.passage_id: prompt for prompt in found}
    assert by_id["a"].body.count("word") == 30
    assert by_id["b"].body.count("字") == 60
    assert len(by_id["b"].passage) == 900


def test_cut_keeps_short_text() -> None:
    assert cut(" a\nb  c ", 3) == "a b c"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"counts": {"riddle": 1}}, "unknown family 'riddle'"),
        ({"style": "poem"}, "unknown prompt style"),
        ({"tasks": []}, "no task for family 'short-long'"),
        ({"passages": [], "counts": {"grounded": 1}}, "needs passages"),
        ({"languages": {"English": 1}, "counts": {"bitext": 1}}, "at least 2 languages"),
        ({"languages": {"Germn": 1}}, "did you mean 'German'"),
        ({"languages": {"German": 0}}, "above 0"),
        ({"languages": {}}, "no language"),
        ({"counts": {"short-long": -1}}, "must not be negative"),
        ({"counts": {"grounded-sts": 1}, "passages": ()}, "needs passages"),
    ],
)
def test_errors_teach(change: dict, message: str) -> None:
    settings = {"seed": 1, "counts": {"short-long": 1}, "style": "chat", "tasks": TASKS, "passages": PASSAGES}
    with pytest.raises(RecipeError, match=message):
        list(compose(**{**settings, **change}))


def test_the_93_languages_and_the_papers_shares() -> None:
    found = languages()
    assert len(found) == len({language.name for language in found}) == len({language.code for language in found}) == 93
    assert Counter(language.resources for language in found) == {"high": 14, "middle": 4, "low": 75}
    weights = language_weights()
    assert sum(weights.values()) == pytest.approx(100, abs=0.001)
    assert weights["English"] == 43.1
    assert sum(weight for weight in weights.values() if weight < 2.7) == pytest.approx(19.8)
    assert language_weights({"de": 1, "German": 2}) == {"German": 3}


def test_shares_of_100k_draws_are_within_sampling_error() -> None:
    weights, draws = language_weights(), 100_000
    drawn = Weighted(weights)
    counts = Counter(drawn.choose(7, "short-long", number, "language") for number in range(draws))
    # Chi-square with 92 degrees of freedom: 1 in a million draws lies above 167.
    expected = {name: weight / sum(weights.values()) * draws for name, weight in weights.items()}
    assert sum((counts[name] - mean) ** 2 / mean for name, mean in expected.items()) < 167
    for name, values in (blank for kind in FAMILY.values() for blank in kind.blanks):
        seen = Counter(choose(values, 7, number, name) for number in range(5000))
        assert min(seen.values()) > 0.85 * 5000 / len(values)


def test_draws_of_different_blanks_are_independent() -> None:
    pairs = Counter((choose("ab", 1, number, "one"), choose("ab", 1, number, "two")) for number in range(4000))
    assert min(pairs.values()) > 850


def test_draws_are_the_same_everywhere() -> None:
    assert uniform(0, "a", 1) == 0.6115169087759219
    assert shuffled(["x", "y", "z"], 3) == [2, 1, 0]


def test_families_that_share_the_passages_shuffle_them_once_a_lap(monkeypatch: pytest.MonkeyPatch) -> None:
    laps: list[int] = []

    def counted(items, seed, *address):
        laps.append(address[-1])
        return shuffled(items, seed, *address)

    monkeypatch.setattr("embedloom.synth.compose.shuffled", counted)
    made = prompts({"grounded": 4 * len(PASSAGES), "grounded-sts": 2 * len(PASSAGES)})
    assert len(made) == 6 * len(PASSAGES)
    assert sorted(laps) == [0, 0, 1, 1, 2, 3]


def test_the_language_of_grounded_queries_has_its_name_however_it_is_written() -> None:
    for told in ("german", "DE", "German"):
        assert {one.language for one in prompts({"grounded": 3}, grounded_language=told)} == {"German"}
    assert {one.language for one in prompts({"grounded": 3}, grounded_language="Bavarian")} == {"Bavarian"}
