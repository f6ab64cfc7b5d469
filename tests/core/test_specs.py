from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.component import PART, PATH, Component
from prefixcap.interfaces.decoder import Decoder, DecoderConfig
from prefixcap.interfaces.encoder import EncoderConfig
from prefixcap.interfaces.language_model import LMConfig
from prefixcap.interfaces.validators import between
from prefixcap.plugin import specs
from prefixcap.plugin.registry import Registry, default_registry
from prefixcap.plugin.specs import split_top_level


@attrs.frozen(kw_only=True)
class Every(DecoderConfig):
    name: ClassVar[str] = "every"
    flag: bool = False
    count: int = 1
    scale: float = attrs.field(default=0.5, validator=between(-1e9, 1e9))
    word: str = "a"
    maybe: int | None = None
    note: str | None = None
    words: tuple[str, ...] = ()
    numbers: tuple[float, ...] = (1.0,)
    size: float | int = 1
    either: int | str | None = None
    switch: bool | str = False
    several: tuple[str, ...] | None = None
    mixed: tuple[int | str | None, ...] = ()
    choice: Literal["one", "two, or", 3, None] = "one"
    place: Path = Path()

    def build(self) -> Decoder:
        raise NotImplementedError


@attrs.frozen(kw_only=True)
class Placed(Every):
    path: str = attrs.field(default="", metadata=PATH)
    part: str = attrs.field(default="", metadata=PART)


@attrs.frozen(kw_only=True)
class Later(Every):
    version: ClassVar[str] = "2"


finite = st.floats(-1e9, 1e9)
# any text at all, and often one that looks like a part of a spec
texts = st.text(st.characters(exclude_categories=["Cs"])) | st.text(
    st.sampled_from(",;+=:\"'()[]{} \\n\n" + string.digits)
)
words = texts | st.sampled_from(["", "none", "None", "true", "5", "1.5", "1e3", "inf", '"', "~"])
configs = st.builds(
    Every,
    flag=st.booleans(),
    count=st.integers() | st.integers(2**53, 2**90),
    scale=finite,
    word=words,
    maybe=st.none() | st.integers(),
    note=st.none() | words,
    words=st.lists(words).map(tuple),
    numbers=st.lists(finite).map(tuple),
    size=st.integers(-(2**60), 2**60) | finite,
    either=st.none() | st.integers() | words,
    switch=st.booleans() | words,
    several=st.none() | st.lists(words).map(tuple),
    mixed=st.lists(st.none() | st.integers() | words).map(tuple),
    choice=st.sampled_from(["one", "two, or", 3, None]),
    place=words.filter(lambda text: "\0" not in text).map(Path),
)


def same(one: Any, two: Any) -> bool:
    """Return whether two configs are equal, also in the types of their values."""
    return one == two and repr(one) == repr(two)


@given(configs)
@example(Every(several=("None",)))
@example(Every(several=("none",), mixed=("none", None)))
def test_a_config_is_restored_from_its_spec(config: Every) -> None:
    name, settings = specs.split(specs.to_spec(config))
    assert name == "every"
    assert same(specs.structure(Every, settings, "here"), config)


@given(configs)
def test_a_config_is_restored_from_its_json(config: Every) -> None:
    data = json.loads(json.dumps(specs.to_json(config)))
    assert data.pop("name") == "every"
    assert same(specs.structure(Every, data, "here"), config)


@given(st.lists(configs, min_size=1))
def test_a_comma_list_of_specs_is_split(each: list[Every]) -> None:
    result = [specs.to_spec(config) for config in each]
    assert specs.split_list(",".join(result)) == result


def test_a_spec_has_only_settings_that_differ_from_the_defaults() -> None:
    assert specs.to_spec(Every()) == "every"
    assert specs.to_spec(Every(flag=True, maybe=3, words=("x", "y"))) == (
        "every:flag=true,maybe=3,words=x+y"
    )


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("greedy", ["greedy"]),
        (
            "greedy,beam:num_beams=5,length_penalty=0.8",
            ["greedy", "beam:num_beams=5,length_penalty=0.8"],
        ),
        ("jsonl:path=a:b=c,beam", ["jsonl:path=a:b=c", "beam"]),
        ("a:x=1,b:y=2,z=3,c", ["a:x=1", "b:y=2,z=3", "c"]),
        ("", []),
        ("greedy,", ["greedy"]),
    ],
)
def test_lists_of_specs(text: str, parts: list[str]) -> None:
    assert specs.split_list(text) == parts


@pytest.mark.parametrize(
    ("settings", "config"),
    [
        ('word="a, b"', Every(word="a, b")),
        ('word="say ""no"", twice",count=2', Every(word='say "no", twice', count=2)),
        ("word=C:\\data\\x", Every(word="C:\\data\\x")),
        ('word=5"', Every(word='5"')),
        ('words="a,b"+c d+"e+f"', Every(words=("a,b", "c d", "e+f"))),
        ('note="none"', Every(note="none")),
        ("note=none", Every(note=None)),
        ('either="5"', Every(either="5")),
        ("either=5", Every(either=5)),
        ("either=five", Every(either="five")),
        ("size=2", Every(size=2)),
        ("size=2.0", Every(size=2.0)),
        ("switch=off", Every(switch=False)),
        ("switch=of", Every(switch="of")),
        ("several=none", Every(several=None)),
        ("several=+", Every(several=())),
        ("choice=3", Every(choice=3)),
        ('choice="two, or"', Every(choice="two, or")),
    ],
    ids=str,
)
def test_quoted_values_and_values_of_several_types(settings: str, config: Every) -> None:
    read = specs.structure(Every, specs.split_settings(settings, "here"), "here")
    assert same(read, config)


@given(words)
def test_a_spec_that_a_setting_holds_keeps_what_is_quoted(word: str) -> None:
    inner = specs.to_spec(Every(word="x", note=word))
    outer = Every(word=inner)
    held = specs.structure(Every, specs.split(specs.to_spec(outer))[1], "here").word
    if ";" not in specs._hide_quoted(inner):
        _, settings = specs.split(specs.nested(held))
        assert specs.structure(Every, settings, "here").note == word


REGISTERED = [c for plugin in Registry().plugins for c in plugin.components]


@given(st.data())
def test_every_registered_config_is_restored_from_its_spec(data: st.DataObject) -> None:
    config_class: Any = data.draw(st.sampled_from(REGISTERED))
    drawn: dict[Any, Any] = {
        bool: st.booleans(),
        int: st.integers(0, 9),
        int | None: st.none() | st.integers(0, 9),
        float: st.floats(0, 1),
        float | None: st.none() | st.floats(0, 1),
        str: words,
        str | None: st.none() | words,
        tuple[str, ...]: st.lists(words).map(tuple),
    }
    values = {}
    for name, target in specs.hints(config_class).items():
        if name not in attrs.fields_dict(config_class):
            continue
        if attrs.fields_dict(config_class)[name].default is attrs.NOTHING or data.draw(
            st.booleans()
        ):
            values[name] = data.draw(drawn[target])
    try:
        config = config_class(**values)
    except (ValueError, TypeError, PrefixcapError):
        return  # the settings are out of range
    read = specs.structure(config_class, specs.split(specs.to_spec(config))[1], "here")
    assert same(read, config)


def test_dashes_are_accepted_as_underscores() -> None:
    assert specs.split("beam:num-beams=5") == ("beam", {"num_beams": "5"})


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("every:count", "'every:count': 'count' is not of the form key=value"),
        ("every:count=1,count=2", "'every:count=1,count=2': 'count' appears twice"),
    ],
)
def test_a_malformed_spec_gets_a_sentence(spec: str, sentence: str) -> None:
    with pytest.raises(PrefixcapError) as caught:
        specs.split(spec)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"cuont": "1"}, "here: no setting 'cuont'; did you mean 'count'? known: choice, "),
        ({"count": "1.5"}, "here: '1.5' is not an integer, at count"),
        ({"count": "many"}, "here: 'many' is not an integer, at count"),
        ({"count": "inf"}, "here: 'inf' is not an integer, at count"),
        ({"count": True}, "here: True is not an integer, at count"),
        ({"scale": "wide"}, "here: 'wide' is not a number, at scale"),
        ({"scale": "2e9"}, "here: scale must be between -1000000000.0 and 1000000000.0, not 2"),
        ({"flag": "maybe"}, "here: 'maybe' is neither true nor false, at flag"),
        ({"word": 3}, "here: 3 is not text, at word"),
        ({"either": 1.5}, "here: 1.5 is none of: an integer, text, at either"),
        ({"choice": "tow, or"}, "here: cannot be 'tow, or'; did you mean 'two, or'? known: 3, "),
        ({"words": 3}, "here: 3 is not a list (in text, join its parts with '+'), at words"),
    ],
)
def test_a_wrong_setting_gets_a_sentence(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(PrefixcapError) as caught:
        specs.structure(Every, settings, "here")
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize("word", ["true", "YES", "on", "1"])
def test_words_for_true(word: str) -> None:
    assert specs.structure(Every, {"flag": word}, "here").flag is True


@pytest.mark.parametrize("word", ["false", "No", "off", "0"])
def test_words_for_false(word: str) -> None:
    assert specs.structure(Every, {"flag": word}, "here").flag is False


def test_integers_may_be_written_as_floats_and_large_ones_stay_exact() -> None:
    assert specs.structure(Every, {"count": "1e3"}, "here").count == 1000
    assert specs.structure(Every, {"count": "12345678901234567891"}, "here").count == (
        12345678901234567891
    )


@given(configs, configs)
def test_two_configs_have_the_same_digest_only_if_they_are_equal(one: Every, two: Every) -> None:
    assert specs.digest(one) == specs.digest(attrs.evolve(one))
    # 0.0 and -0.0 are equal; a digest may tell them apart, which only costs a computation
    assert one == two or specs.digest(one) != specs.digest(two)


def test_a_new_version_has_a_new_digest() -> None:
    assert specs.digest(Every()) != specs.digest(Later())


def test_an_object_that_is_not_data_has_no_digest() -> None:
    with pytest.raises(TypeError, match="cannot be hashed"):
        specs.digest(object())


@pytest.mark.parametrize(
    ("text", "marks", "result"),
    [
        ("a=[1,2],b=(3,{4,5}),,c", ",", ["a=[1,2]", "b=(3,{4,5})", "c"]),
        ("a=1;b=[2;3],c=4", ",;", ["a=1", "b=[2;3]", "c=4"]),
        ("a=),b=1", ",", ["a=)", "b=1"]),
        ("path=a(b,c=1", ",", ["path=a(b", "c=1"]),
        ('path="a(,b",c=1', ",", ['path="a(,b"', "c=1"]),
        ('words=a+"b,""c"+d,e=f', ",", ['words=a+"b,""c"+d', "e=f"]),
        ('path="a,b', ",", ['path="a', "b"]),
        ('path=a"b,c="d,e"', ",", ['path=a"b', 'c="d,e"']),
        ("", ",", []),
    ],
)
def test_a_mark_in_brackets_does_not_split(text: str, marks: str, result: list[str]) -> None:
    assert split_top_level(text, marks) == result


def test_paths_are_absolute_in_what_is_saved_and_absent_from_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "blob").touch()
    (tmp_path / "link.npy").symlink_to("blob")
    monkeypatch.chdir(tmp_path / "weights")
    monkeypatch.setenv("HOME", str(tmp_path))
    spellings = (".", "../weights", "~/weights", str(tmp_path / "weights"))
    configs = [Placed(path=path, part=path, count=3) for path in spellings]
    for config in configs:
        saved = specs.absolute(config)
        assert saved == attrs.evolve(config, path=str(tmp_path.resolve() / "weights"))
        assert specs.identity(config) == specs.identity(configs[0])
        assert "path" not in specs.identity(config)
    # a link keeps its name, whose suffix may say how to read it
    link = specs.absolute(Placed(path="../link.npy"))
    assert link.path == str(tmp_path.resolve() / "link.npy")
    # a pattern of shards is that of a folder
    for pattern in ("a-{0..9}.tar", "./a-{0..9}.tar", "../weights/a-{0..9}.tar"):
        saved = specs.absolute(Placed(path=pattern))
        assert saved.path == str(tmp_path.resolve() / "weights" / "a-{0..9}.tar")
        assert "path" not in specs.identity(Placed(path=pattern))
    assert (
        specs.absolute(Placed(path="{a,b}/{0..9}.tar")).path == f"{Path.cwd()}/{{a,b}}/{{0..9}}.tar"
    )
    # what does not exist is a name, such as a hub's, and names are part of keys
    for name in ("gpt2", "", "x" * 9000, "a\0b", "~nobody/x", "gone/{a,b}.tar"):
        assert specs.absolute(Placed(path=name)).path == name
        assert specs.identity(Placed(path=name))["path"] == name
    assert specs.identity(Placed(count=4)) != specs.identity(Placed(count=3))


@pytest.mark.parametrize("name", ["x" * 9000, "a" * 300 + "/b", "~no-such-user/x"])
@pytest.mark.parametrize("spec", ["hf:model=", "hf:tokenizer=", "clip:model=", "precomputed:path="])
def test_a_path_that_cannot_be_one_is_an_error_when_it_is_parsed(spec: str, name: str) -> None:
    kind: type[Component] = LMConfig if spec.startswith("hf") else EncoderConfig
    with pytest.raises(PrefixcapError, match=r"cannot be read: (File name too long|the folder)"):
        default_registry().parse(kind, spec + name)
