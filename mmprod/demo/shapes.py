"""Maps product types to their drawing functions."""

from collections.abc import Callable

from mmprod.demo import shapes_bags, shapes_gear, shapes_home, shapes_kitchen, shapes_light, shapes_wear
from mmprod.demo.items import Item
from mmprod.demo.look import Look
from mmprod.demo.surface import Part

_SHAPES: dict[str, Callable[[Look], list[Part]]] = {
    "table lamp": shapes_light.table_lamp,
    "floor lamp": shapes_light.floor_lamp,
    "chair": shapes_home.chair,
    "sofa": shapes_home.sofa,
    "cushion": shapes_home.cushion,
    "mug": shapes_kitchen.mug,
    "teapot": shapes_kitchen.teapot,
    "vase": shapes_kitchen.vase,
    "T-shirt": shapes_wear.t_shirt,
    "dress": shapes_wear.dress,
    "hat": shapes_wear.hat,
    "sneaker": shapes_wear.sneaker,
    "handbag": shapes_bags.handbag,
    "backpack": shapes_bags.backpack,
    "watch": shapes_gear.watch,
    "headphones": shapes_gear.headphones,
}


def parts_of(item: Item) -> list[Part]:
    """The parts of an item's picture, back to front, in its own space (about -1 … 1)."""
    return _SHAPES[item.type](Look(item))
