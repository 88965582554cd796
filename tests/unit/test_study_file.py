"""A study's file: each cell is the base recipe with its own settings, and what is wrong is named with its cell."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedloom.cli.study_file import read_study
from embedloom.errors import RecipeError

HEAD = 'name = "s"\nbase = ["base.toml"]\nreference = "a"\n'
REPOSITORY = Path(__file__).parents[2]


def written(folder: Path, cells: str, *, head: str = HEAD) -> Path:
    (folder / "base.toml").write_text('[train]\nbase = "path:b"\nlora_rank = 8\nmax_length = 32\n', encoding="utf-8")
    path = folder / "study.toml"
    path.write_text(head + cells, encoding="utf-8")
    return path


def test_a_cell_is_the_base_with_its_own_settings(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        '[every]\ntrain.epochs = 3\n[cells.a]\npaper = 64.5\n[cells.b]\ntitle = "B"\ntrain.pooling = "mean"\n'
        'train.epochs = 4\n[cells.c]\nmodel = "bm25"\n[cells.d]\nmerge = ["a", "b"]\nmethod = "slerp"\n',
    )
    study = read_study(path, ["train.lora_rank=2", "train.epochs=5"])
    a, b, c, d = study.cells
    assert (a.title, a.paper, a.recipe.train.epochs, a.recipe.train.lora_rank) == ("a", 64.5, 5, 2)
    assert (b.title, b.paper, b.recipe.train.epochs, b.recipe.train.pooling) == ("B", None, 4, "mean")
    assert (b.recipe.train.base, b.recipe.name, a.recipe.train.pooling) == ("path:b", "b", "last")
    assert (c.model, c.needs, d.merge, d.method, d.needs) == ("bm25", (), ("a", "b"), "slerp", ("a", "b"))


def test_a_training_may_start_from_an_earlier_cell(tmp_path: Path) -> None:
    cells = '[cells.a]\n[cells.b]\ntrain.base = "cell:a"\n'
    assert read_study(written(tmp_path, cells)).cell("b").needs == ("a",)


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ("[cells.a]\ntrain.poling = 1\n", r"cell 'a': unknown key 'train.poling'; did you mean 'pooling'\?"),
        ('[cells.a]\ntrain.pooling = "max"\n', "cell 'a': key 'train.pooling': input should be 'last'"),
        ("[cells.a]\ntraining.epochs = 1\n", r"cell 'a': unknown key 'training'; did you mean 'train'\?"),
        ('[cells.a]\npaper = "much"\n', "cell 'a': key 'paper'"),
        ('[cells.a]\nmodel = "bm25"\nmerge = ["b"]\n', "has a model and merges others"),
        ('[cells."a/b"]\n', "a cell's name is letters"),
        ('[cells.a]\ntrain.base = "cell:b"\n[cells.b]\n', "needs a cell 'b' before it; before it are none"),
        ('[cells.a]\n[cells.b]\nmerge = ["a", "b"]\n', "needs a cell 'b' before it; before it are a"),
        ("[cells.b]\n", "reference is 'a', which is no cell; cells are b"),
        ("[cells.a]\n[every]\ntrain.rank = 1\n", "cell 'a': unknown key 'train.rank'"),
    ],
)
def test_what_is_wrong_is_named_with_its_cell(tmp_path: Path, cells: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        read_study(written(tmp_path, cells))


def test_an_unknown_key_of_the_study_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"unknown key 'limits'; did you mean 'limit'\?"):
        read_study(written(tmp_path, "[cells.a]\n", head="limits = 3\n" + HEAD))
    with pytest.raises(RecipeError, match="key 'cells' is missing"):
        read_study(written(tmp_path, ""))
    with pytest.raises(RecipeError, match="no recipe"):
        read_study(tmp_path / "absent.toml")


STUDIES = [
    path
    for path in sorted((REPOSITORY / "recipes" / "study").glob("*.toml"))
    if "reference" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_study_of_the_project_is_read_fits_a_screen_and_can_be_scaled(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 60
    study = read_study(path, ["train.base=hub:organisation/model"])
    assert study.name == path.stem
    assert study.question
    assert len(study.cells) >= 2
    assert any(cell.recipe.train.base == "hub:organisation/model" for cell in study.cells)
