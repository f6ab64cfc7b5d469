"""Tables of the drawn world: kinds of object with their words and sizes, and places."""

from __future__ import annotations

import attrs

NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five"}
SIZES = ("small", "plain", "big")
SIZE_WORDS = {"small": ("small", "small", "little", "tiny"), "big": ("big", "large", "large")}
SKIES = ("day", "sunset", "night")


@attrs.frozen
class ObjectKind:
    """A kind of object."""

    noun: str
    plural: str
    colours: tuple[str, ...]
    height: float  # height at plain size, as a fraction of the picture's height
    aspect: float  # width divided by height
    max_count: int  # maximum number of objects in a group
    verbs: tuple[str, ...]  # what it does, as "singular/plural"
    place: str = "ground"  # "ground", "air" or "water"
    also: tuple[tuple[str, str], ...] = ()  # other nouns, each with its plural
    support: bool = False  # whether small objects may be on it
    top: bool = False  # whether it may be on a support
    shelter: bool = False  # whether objects may be under it
    screen: bool = False  # whether objects may be in front of it
    clothed: bool = False  # whether the colour is that of its clothes


_FURS = ("brown", "black", "white", "grey")
_PAINTS = ("red", "blue", "green", "yellow", "white", "black")
_BRIGHTS = ("red", "blue", "green", "yellow", "orange", "purple", "pink")
_STANDS = ("stands/stand", "is standing/are standing", "waits/wait")
_LIES = ("lies/lie", "is lying/are lying")
_PARKED = ("is parked/are parked", "stands/stand", "waits/wait")
_FLIES = ("flies/fly", "is flying/are flying")
_FLOATS = ("floats/float", "is floating/are floating")

OBJECTS: dict[str, ObjectKind] = {
    "dog": ObjectKind("dog", "dogs", _FURS, 0.19, 1.25, 3, _STANDS, top=True),
    "cat": ObjectKind("cat", "cats", ("orange", "black", "white", "grey"), 0.18, 0.95, 3,
        ("sits/sit", "is sitting/are sitting"), top=True),
    "rabbit": ObjectKind("rabbit", "rabbits", ("white", "brown", "grey"), 0.17, 0.85, 4,
        ("sits/sit", "is sitting/are sitting"), also=(("bunny", "bunnies"),)),
    "horse": ObjectKind("horse", "horses", ("brown", "black", "white"), 0.28, 1.2, 2, _STANDS),
    "duck": ObjectKind("duck", "ducks", ("yellow", "white", "brown"), 0.14, 1.25, 4,
        ("swims/swim", "is swimming/are swimming", "floats/float"), place="water"),
    "bird": ObjectKind("bird", "birds", ("blue", "red", "black", "white", "yellow"), 0.11, 1.7, 5,
        _FLIES, place="air"),
    "man": ObjectKind("man", "men", _PAINTS, 0.32, 0.42, 3, _STANDS, also=(("guy", "guys"),),
        clothed=True),
    "woman": ObjectKind("woman", "women", ("red", "blue", "green", "yellow", "pink", "purple"),
        0.31, 0.45, 3, _STANDS, also=(("lady", "ladies"),), clothed=True),
    "car": ObjectKind("car", "cars", _PAINTS, 0.17, 2.05, 3, _PARKED, support=True),
    "bus": ObjectKind("bus", "buses", ("red", "blue", "green", "yellow"), 0.25, 1.9, 2, _PARKED,
        screen=True),
    "bicycle": ObjectKind("bicycle", "bicycles", ("red", "blue", "green", "black"), 0.19, 1.55, 2,
        ("is parked/are parked", "stands/stand"), also=(("bike", "bikes"),)),
    "boat": ObjectKind("boat", "boats", ("red", "blue", "green", "brown", "white"), 0.3, 0.95, 3,
        ("floats/float", "sails/sail", "is sailing/are sailing"), place="water",
        also=(("sailboat", "sailboats"),)),
    "plane": ObjectKind("plane", "planes", ("white", "red", "blue", "grey"), 0.13, 2.2, 2, _FLIES,
        place="air", also=(("airplane", "airplanes"),)),
    "balloon": ObjectKind("balloon", "balloons", _BRIGHTS, 0.26, 0.55, 5, _FLOATS, place="air"),
    "kite": ObjectKind("kite", "kites", _BRIGHTS, 0.25, 0.75, 3, _FLIES, place="air"),
    "ball": ObjectKind("ball", "balls", (*_BRIGHTS, "white"), 0.12, 1.0, 5, _LIES, top=True),
    "box": ObjectKind("box", "boxes", ("brown", "red", "blue", "green", "yellow"), 0.15, 1.1, 3,
        _LIES, also=(("crate", "crates"),), support=True),
    "chair": ObjectKind("chair", "chairs", ("brown", "red", "blue", "green", "white"), 0.24, 0.68,
        3, ("stands/stand",)),
    "table": ObjectKind("table", "tables", ("brown", "white", "black"), 0.2, 1.7, 1,
        ("stands/stand",), support=True),
    "house": ObjectKind("house", "houses", ("red", "blue", "yellow", "white", "brown"), 0.4, 0.95,
        2, ("stands/stand",), also=(("cottage", "cottages"),), screen=True),
    "tent": ObjectKind("tent", "tents", ("orange", "blue", "green", "red", "yellow"), 0.25, 1.35, 2,
        ("stands/stand", "is pitched/are pitched"), screen=True),
    "tree": ObjectKind("tree", "trees", ("green", "green", "orange", "yellow"), 0.45, 0.7, 3,
        ("grows/grow", "stands/stand"), shelter=True),
    "flower": ObjectKind("flower", "flowers", ("red", "yellow", "pink", "purple", "white"), 0.16,
        0.55, 5, ("grows/grow", "blooms/bloom"), top=True),
    "umbrella": ObjectKind("umbrella", "umbrellas", ("red", "blue", "yellow", "green", "pink"),
        0.36, 0.95, 2, ("stands/stand",), also=(("parasol", "parasols"),), shelter=True),
    "lamp": ObjectKind("lamp", "lamps", ("yellow", "white", "red", "green"), 0.2, 0.6, 2,
        ("stands/stand", "shines/shine"), top=True),
    "snowman": ObjectKind("snowman", "snowmen", ("red", "blue", "green", "yellow"), 0.3, 0.65, 2,
        _STANDS, clothed=True),
    "cactus": ObjectKind("cactus", "cacti", ("green",), 0.3, 0.6, 3,
        ("grows/grow", "stands/stand")),
}  # fmt: skip

CLOTHES = {"man": ("shirt", "T-shirt"), "woman": ("dress",), "snowman": ("scarf",)}


@attrs.frozen
class Place:
    """A place that a scene can be in."""

    weight: int  # relative frequency
    ground: tuple[str, ...]  # kinds that may be on its ground or water
    air: tuple[str, ...]  # kinds that may fly in it
    phrases: tuple[str, ...]  # where an object in it is, such as "on the grass"
    names: tuple[str, ...]  # the place itself, as in "a picture of ..."


PLACES: dict[str, Place] = {
    "meadow": Place(
        4,
        ("dog", "cat", "rabbit", "horse", "man", "woman", "bicycle", "ball", "box", "chair",
         "house", "tent", "tree", "flower", "umbrella", "table"),
        ("bird", "plane", "balloon", "kite"),
        ("on the grass", "in a meadow", "in a green field", "in the grass"),
        ("a meadow", "a green field"),
    ),
    "beach": Place(
        3,
        ("dog", "man", "woman", "ball", "box", "chair", "tent", "umbrella", "table", "car"),
        ("bird", "plane", "balloon", "kite"),
        ("on the beach", "on a sandy beach", "by the sea", "on the sand"),
        ("a beach", "a sandy beach"),
    ),
    "snow": Place(
        3,
        ("dog", "rabbit", "horse", "man", "woman", "box", "house", "tent", "tree", "snowman",
         "car", "ball"),
        ("bird", "plane", "balloon"),
        ("in the snow", "on a snowy field", "on the snow"),
        ("a snowy field", "a winter landscape"),
    ),
    "street": Place(
        3,
        ("dog", "cat", "man", "woman", "car", "bus", "bicycle", "ball", "box", "chair", "tree"),
        ("bird", "plane", "balloon"),
        ("on the street", "on a city street", "in the city", "on the road"),
        ("a city street", "a street in the city"),
    ),
    "desert": Place(
        2,
        ("dog", "horse", "man", "woman", "car", "tent", "cactus", "box", "bus"),
        ("bird", "plane", "balloon", "kite"),
        ("in the desert", "in a dry desert", "among the dunes"),
        ("a desert", "a dry desert"),
    ),
    "room": Place(
        4,
        ("dog", "cat", "rabbit", "man", "woman", "ball", "box", "chair", "table", "lamp",
         "flower", "bicycle"),
        ("balloon",),
        ("in a room", "in the living room", "inside a room", "indoors"),
        ("a room", "a living room"),
    ),
    "lake": Place(
        2,
        ("boat", "duck"),
        ("bird", "plane", "balloon", "kite"),
        ("on a lake", "on the water", "on a calm lake"),
        ("a lake", "a calm lake"),
    ),
}  # fmt: skip
