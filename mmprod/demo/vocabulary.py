"""The words of the sample marketplace, English and Chinese, and what they look like."""

from dataclasses import dataclass

RGB = tuple[int, int, int]


@dataclass(frozen=True)
class Kind:
    """A product type: where it hangs in the category tree and what sellers call it."""

    category: tuple[str, str, str]
    english: tuple[str, ...]  # the first is the type's proper name
    chinese: tuple[str, ...]
    materials: tuple[str, ...]
    place: tuple[str, str]  # where or how it is used, English and Chinese
    favourites: tuple[tuple[str, str], ...]  # colour and pattern of what sells best


KINDS: dict[str, Kind] = {
    "table lamp": Kind(
        ("Home", "Lighting", "Table lamps"),
        ("table lamp", "desk lamp", "bedside lamp"),
        ("台灯", "床头灯"),
        ("metal", "ceramic", "wood"),
        ("bedroom", "卧室"),
        (("green", "plain"), ("white", "plain"), ("red", "checked")),
    ),
    "floor lamp": Kind(
        ("Home", "Lighting", "Floor lamps"),
        ("floor lamp", "standing lamp"),
        ("落地灯",),
        ("metal", "wood"),
        ("living room", "客厅"),
        (("black", "plain"), ("white", "plain"), ("yellow", "zigzag")),
    ),
    "chair": Kind(
        ("Home", "Furniture", "Chairs"),
        ("chair", "dining chair"),
        ("椅子", "餐椅"),
        ("velvet", "leather", "linen"),
        ("dining room", "餐厅"),
        (("green", "plain"), ("blue", "striped"), ("black", "checked")),
    ),
    "sofa": Kind(
        ("Home", "Furniture", "Sofas"),
        ("sofa", "couch", "loveseat"),
        ("沙发",),
        ("velvet", "leather", "linen"),
        ("living room", "客厅"),
        (("grey", "plain"), ("blue", "striped"), ("pink", "floral")),
    ),
    "cushion": Kind(
        ("Home", "Textiles", "Cushions"),
        ("cushion", "throw pillow"),
        ("抱枕", "靠垫"),
        ("cotton", "velvet", "linen"),
        ("sofa", "沙发"),
        (("red", "striped"), ("blue", "zigzag"), ("yellow", "dotted")),
    ),
    "mug": Kind(
        ("Kitchen", "Drinkware", "Mugs"),
        ("mug", "coffee mug", "tea cup"),
        ("马克杯", "咖啡杯"),
        ("ceramic", "enamel"),
        ("office", "办公室"),
        (("red", "striped"), ("blue", "dotted"), ("white", "floral")),
    ),
    "teapot": Kind(
        ("Kitchen", "Drinkware", "Teapots"),
        ("teapot", "tea pot"),
        ("茶壶",),
        ("ceramic", "enamel"),
        ("tea time", "下午茶"),
        (("blue", "floral"), ("red", "dotted"), ("green", "striped")),
    ),
    "vase": Kind(
        ("Kitchen", "Tableware", "Vases"),
        ("vase", "flower vase"),
        ("花瓶",),
        ("ceramic", "glass"),
        ("dining table", "餐桌"),
        (("white", "plain"), ("blue", "floral"), ("green", "zigzag")),
    ),
    "T-shirt": Kind(
        ("Fashion", "Tops", "T-shirts"),
        ("T-shirt", "tee", "short sleeve shirt"),
        ("T恤", "短袖"),
        ("cotton", "linen"),
        ("summer", "夏季"),
        (("blue", "striped"), ("black", "plain"), ("red", "striped")),
    ),
    "dress": Kind(
        ("Fashion", "Dresses", "Day dresses"),
        ("dress", "sundress"),
        ("连衣裙", "裙子"),
        ("cotton", "silk"),
        ("party", "派对"),
        (("blue", "dotted"), ("red", "floral"), ("black", "plain")),
    ),
    "handbag": Kind(
        ("Fashion", "Bags", "Handbags"),
        ("handbag", "tote bag", "purse"),
        ("手提包", "女包"),
        ("leather", "canvas"),
        ("office", "通勤"),
        (("red", "plain"), ("brown", "checked"), ("black", "dotted")),
    ),
    "backpack": Kind(
        ("Fashion", "Bags", "Backpacks"),
        ("backpack", "rucksack", "school bag"),
        ("双肩包", "书包"),
        ("canvas", "leather"),
        ("school", "上学"),
        (("blue", "plain"), ("pink", "dotted"), ("green", "checked")),
    ),
    "sneaker": Kind(
        ("Fashion", "Shoes", "Sneakers"),
        ("sneaker", "trainers", "running shoe"),
        ("运动鞋", "板鞋"),
        ("canvas", "leather"),
        ("running", "跑步"),
        (("white", "plain"), ("red", "checked"), ("blue", "striped")),
    ),
    "hat": Kind(
        ("Fashion", "Accessories", "Hats"),
        ("hat", "sun hat"),
        ("帽子", "遮阳帽"),
        ("wool", "straw", "cotton"),
        ("beach", "海边"),
        (("yellow", "plain"), ("white", "striped"), ("red", "dotted")),
    ),
    "watch": Kind(
        ("Electronics", "Wearables", "Watches"),
        ("watch", "wristwatch"),
        ("手表", "腕表"),
        ("leather", "canvas"),
        ("everyday", "日常"),
        (("brown", "plain"), ("black", "plain"), ("blue", "striped")),
    ),
    "headphones": Kind(
        ("Electronics", "Audio", "Headphones"),
        ("headphones", "over-ear headset"),
        ("耳机", "头戴式耳机"),
        ("plastic", "leather"),
        ("travel", "旅行"),
        (("black", "plain"), ("white", "plain"), ("pink", "dotted")),
    ),
}

COLOURS: dict[str, RGB] = {
    "red": (205, 38, 42),
    "blue": (38, 92, 190),
    "black": (42, 42, 46),
    "white": (240, 239, 235),
    "green": (48, 136, 76),
    "pink": (240, 150, 178),
    "yellow": (246, 202, 52),
    "grey": (142, 146, 152),
    "brown": (124, 78, 46),
    "orange": (238, 122, 34),
    "purple": (126, 66, 164),
}
COLOUR_SHARES = (0.16, 0.15, 0.13, 0.10, 0.10, 0.08, 0.08, 0.06, 0.05, 0.05, 0.04)

PATTERNS = ("plain", "striped", "dotted", "checked", "floral", "zigzag")
PATTERN_SHARES = (0.40, 0.18, 0.14, 0.11, 0.10, 0.07)

STYLES = ("minimalist", "classic", "vintage")

CHINESE: dict[str, str] = {
    "red": "红色",
    "blue": "蓝色",
    "black": "黑色",
    "white": "白色",
    "green": "绿色",
    "pink": "粉色",
    "yellow": "黄色",
    "grey": "灰色",
    "brown": "棕色",
    "orange": "橙色",
    "purple": "紫色",
    "plain": "纯色",
    "striped": "条纹",
    "dotted": "波点",
    "checked": "格子",
    "floral": "碎花",
    "zigzag": "波浪纹",
    "minimalist": "极简风",
    "classic": "经典",
    "vintage": "复古",
    "metal": "金属",
    "ceramic": "陶瓷",
    "wood": "实木",
    "velvet": "天鹅绒",
    "leather": "皮革",
    "linen": "亚麻",
    "cotton": "纯棉",
    "silk": "真丝",
    "enamel": "搪瓷",
    "glass": "玻璃",
    "canvas": "帆布",
    "wool": "羊毛",
    "straw": "草编",
    "plastic": "塑料",
}

SERIES = (
    *("Alba", "Borea", "Cirrus", "Delta", "Ember", "Fenna", "Gala", "Hera", "Indra", "Juno", "Kora", "Linde"),
    *("Mira", "Nova", "Orla", "Pella", "Runa", "Sella", "Tova", "Ulma", "Vega", "Wilma", "Yara", "Zeno"),
)

BRANDS = (
    *("Nordvik", "Halden", "Miyoko", "Casa Luz", "Brightwell", "Oakley & Finch", "Lumo", "Tansy"),
    *("Petit Jour", "Aurelle", "Kestrel", "Yun House", "Marlo", "Fjord Co", "Qing He", "Solvei"),
)
