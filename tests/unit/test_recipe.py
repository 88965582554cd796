"""Recipes: merged left to right, every fault named with the key and what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedloom.errors import RecipeError
from embedloom.recipe import Recipe, load_recipe, resolved

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))


def written(folder: Path, *texts: str) -> list[Path]:
    paths = []
    for number, text in enumerate(texts):
        paths.append(folder / f"{number}.toml")
        paths[-1].write_text(text, encoding="utf-8")
    return paths


def test_files_are_merged_left_to_right_then_settings(tmp_path: Path) -> None:
    paths = written(
        tmp_path,
        'name = "first"\n[train]\nbatch_size = 8\nepochs = 2\n[generate]\ncounts = { sts = 5, grounded = 7 }\n',
        '[train]\nbatch_size = 16\n[generate]\ncounts = { sts = 6 }\n[[tasks]]\ninstruction = "Find it"\n',
    )
    recipe = load_recipe(paths, ["train.epochs=3", "eval.baselines=['bm25']"])
    assert (recipe.name, recipe.train.batch_size, recipe.train.epochs) == ("first", 16, 3.0)
    assert recipe.generate.counts == {"sts": 6, "grounded": 7}
    assert recipe.eval.baselines == ["bm25"]
    assert recipe.tasks[0].instruction == "Find it"
    assert load_recipe(paths[:1]).train.batch_size == 8


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("name=plain words", "plain words"),
        ('name="quoted = sign"', "quoted = sign"),
        ("name = 'spaces around' ", "spaces around"),
        ("name=registry:a", "registry:a"),
        ("name=", ""),
    ],
)
def test_a_setting_is_toml_or_else_text(setting: str, value: str) -> None:
    assert load_recipe([], [setting]).name == value


def test_a_setting_reaches_deep_and_the_last_one_wins() -> None:
    recipe = load_recipe([], ["generate.counts.sts=3", "generate.counts.bitext=4", "generate.counts.sts=9", "seed=7"])
    assert recipe.generate.counts == {"sts": 9, "bitext": 4}
    assert recipe.seed == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[trian]\n", "unknown key 'trian'; did you mean 'train'\\?"),
        ("[train]\nbatchsize = 3\n", "unknown key 'train.batchsize'; did you mean 'batch_size'\\?"),
        ("[train]\nzzz = 3\n", "unknown key 'train.zzz'; known keys: base, sources, epochs"),
        (
            "[[tasks]]\ninstruction = 'x'\n[[tasks]]\ninstruktion = 'y'\n",
            "tasks.1.instru",
        ),
        ("[[tasks]]\ninstruction = 'x'\nwieght = 2\n", "unknown key 'tasks.0.wieght'; did you mean 'weight'\\?"),
        ("[[tasks]]\ninstruction='x'\ndemonstrations=[{passage='p', qwery='q'}]\n", "demonstrations.0"),
        ("[[train.sources]]\nlimit = 3\n", "key 'train.sources.0.data' is missing"),
        ("[train]\nbatch_size = 'many'\n", "key 'train.batch_size': .*integer.*, got \"many\""),
        ("[train]\nbatch_size = 1\n", "key 'train.batch_size': .*greater than 1, got 1"),
        ("[train]\npooling = 'max'\n", "key 'train.pooling': .*'last'"),
        ("[corpus]\nevaluation_share = 1.5\n", "less than 1, got 1.5"),
        ("train = 3\n", "'train' is a section, set by its keys: train.base, train.sources, train.epochs"),
        ("a = [\n", "not a TOML file"),
        ("a = 1\na = 2\n", "not a TOML file"),
    ],
)
def test_a_fault_is_named_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    paths = written(tmp_path, text)
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe(paths)
    assert str(paths[0]) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.batch_size", "expected section.key=value, for example train.batch_size=16"),
        ("=3", "expected section.key=value"),
        ("train.batchsize=3", "did you mean 'batch_size'"),
        ("seed.deep=3", "key 'seed'"),
        ("train=3", "'train' is a section, set by its keys: train.base"),
        ("train..epochs=3", "unknown key 'train.'"),
    ],
)
def test_a_faulty_setting_is_named(setting: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe([], [setting])


def test_a_mark_that_editors_put_before_utf8_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b'\xef\xbb\xbfname = "marked"\r\n')
    assert load_recipe([tmp_path / "a.toml"]).name == "marked"


def test_a_missing_file_says_where_recipes_lie(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no recipe .*recipes/quickstart.toml"):
        load_recipe([tmp_path / "none.toml"])
    with pytest.raises(RecipeError, match="is a folder; expected a recipe"):
        load_recipe([tmp_path])
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError, match="not a TOML file"):
        load_recipe([tmp_path / "b.toml"])


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_recipes_of_the_project_are_valid(path: Path) -> None:
    assert load_recipe([path]).name == path.stem


def test_a_resolved_recipe_is_a_recipe_with_every_default() -> None:
    full = resolved(load_recipe(RECIPES[:1]))
    assert Recipe.model_validate(full) == load_recipe(RECIPES[:1])
    assert full["train"]["weight_decay"] == 0.1
