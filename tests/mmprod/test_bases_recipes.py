"""The recipes in configs/ are valid, name real bases, and say why for what they set."""

from pathlib import Path

import open_clip
import pytest

from mmprod.config import load

RECIPES = sorted((Path(__file__).parents[2] / "configs").glob("*.toml"))


def test_there_is_one_for_each_kind_of_base() -> None:
    assert [path.stem for path in RECIPES] == ["blip", "chinese-clip", "clip", "siglip"]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_valid_and_names_a_base(path: Path) -> None:
    loaded = load(path)
    section = loaded.config.encoder
    set_here = [key for key, origin in loaded.origins.items() if origin == str(path)]
    for part in ("encoder.", "pairs.", "finetune."):
        assert any(key.startswith(part) for key in set_here)
    if section.pretrained:
        assert open_clip.get_pretrained_cfg(section.model, section.pretrained), "no such pretrained tag"
    else:
        assert section.model.startswith("transformers:")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_usable_from_any_folder(path: Path) -> None:
    """A lake named in the file would lie beside the file: the recipes leave it to the command."""
    assert not any(key.startswith(("lake", "images.root")) for key in load(path).origins)
