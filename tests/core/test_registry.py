from __future__ import annotations

import attrs
import pytest
from mutants.configs import TwistedDecoder, TwistedMetric, Worded

import prefixcap
from prefixcap.errors import PrefixcapError
from prefixcap.interfaces.component import Component
from prefixcap.interfaces.decoder import DecoderConfig
from prefixcap.interfaces.metric import MetricConfig
from prefixcap.plugin.host import Plugin
from prefixcap.plugin.registry import Registry

MINE = Plugin("mine", "mine 1.0", (TwistedDecoder, TwistedMetric))
YOURS = Plugin("yours", "yours 2.1", (Worded,))
BROKEN = Plugin("broken", "broken 0.1", error="importing broken failed: OSError: no disk")


def sentence(registry: Registry, kind: str, name: str) -> str:
    with pytest.raises(PrefixcapError) as caught:
        registry.config_class(kind, name)
    return str(caught.value)


def test_components_are_found_by_kind_and_name() -> None:
    registry = Registry([MINE])
    assert registry.names("decoder") == ["twisted"]
    assert registry.config_class("decoder", "twisted") is TwistedDecoder
    assert registry.config_class("metric", "twisted") is TwistedMetric
    assert registry.plugin_of("metric", "twisted") is MINE
    assert registry.names("mapper") == []


def test_two_plugins_with_one_name_are_both_named_on_access() -> None:
    registry = Registry([MINE, YOURS])
    assert sentence(registry, "decoder", "twisted") == (
        "more than one plugin provides the decoder 'twisted': 'mine' (mine 1.0) and "
        "'yours' (yours 2.1); uninstall one of them"
    )
    # and nothing else is disturbed
    assert registry.names("decoder") == ["twisted"]
    assert registry.config_class("metric", "twisted") is TwistedMetric


def test_an_unknown_name_gets_the_nearest_and_known_names_and_failed_plugins() -> None:
    registry = Registry([MINE, BROKEN])
    assert sentence(registry, "decoder", "twist") == (
        "no decoder 'twist'; did you mean 'twisted'? known: twisted; plugins that failed to load: "
        "broken (importing broken failed: OSError: no disk)"
    )
    assert sentence(Registry([MINE]), "mapper", "mlp") == "no mapper 'mlp'"


def test_an_unknown_kind_is_named() -> None:
    assert sentence(Registry([MINE]), "decoders", "beam").startswith(
        "no kind 'decoders'; did you mean 'decoder'? known: "
    )
    with pytest.raises(PrefixcapError, match="no kind 'x'"):
        Registry([MINE]).names("x")


def test_a_spec_is_parsed_and_a_config_is_returned_unchanged() -> None:
    registry = Registry([MINE])
    config = registry.parse(DecoderConfig, "twisted:n=3")
    assert config == TwistedDecoder(n=3)
    assert registry.parse(DecoderConfig, config) is config
    assert registry.parse(MetricConfig, "twisted") == TwistedMetric()


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("twisted:m=3", "decoder 'twisted:m=3': no setting 'm'; known: n, twist"),
        ("twisted:n=x", "decoder 'twisted:n=x': 'x' is not an integer, at n"),
        ("", "no decoder ''; known: twisted"),
    ],
)
def test_a_wrong_spec_gets_a_sentence(spec: str, sentence: str) -> None:
    with pytest.raises(PrefixcapError) as caught:
        Registry([MINE]).parse(DecoderConfig, spec)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("base", "spec", "sentence"),
    [
        (DecoderConfig, "guidance:decoder=beam:num_beems=3", "did you mean 'num_beams'?"),
        (DecoderConfig, "guidance:decoder=guidance:decoder=gredy", "did you mean 'greedy'?"),
        (
            DecoderConfig,
            "contrastive-decoding:amateur=hg",
            "amateur: no lm 'hg'; did you mean 'hf'",
        ),
        (DecoderConfig, "speculative:run=\0", "embedded null byte"),
        (DecoderConfig, "speculative:run=nowhere", "run: nowhere: the run does not exist"),
        (DecoderConfig, "best-of:by=clip,text=clop", "no encoder 'clop'; did you mean 'clip'?"),
        (MetricConfig, "oracle:metric=blue", "no metric 'blue'; did you mean 'bleu'?"),
    ],
)
def test_mistakes_in_nested_specs_are_reported_at_once(
    base: type[Component], spec: str, sentence: str
) -> None:
    with pytest.raises(PrefixcapError) as caught:
        Registry().parse(base, spec)
    assert str(caught.value).startswith(f"{base.kind} {spec!r}: ")
    assert sentence in str(caught.value)


class Careless(TwistedDecoder):
    """Fails when it is asked for what its settings name."""

    def subcomponents(self) -> tuple[Component, ...]:
        raise KeyError("model")


def test_a_plugin_that_cannot_name_its_parts_is_named() -> None:
    registry = Registry([Plugin("mine", "mine 1.0", (Careless,))])
    with pytest.raises(PrefixcapError) as caught:
        registry.parse(DecoderConfig, "twisted")
    assert str(caught.value) == (
        "decoder 'twisted': the plugin 'mine' (mine 1.0) failed: KeyError: 'model'"
    )


def test_json_becomes_a_config() -> None:
    registry = Registry([MINE])
    assert registry.from_json(DecoderConfig, {"name": "twisted", "n": 3}) == TwistedDecoder(n=3)
    with pytest.raises(PrefixcapError, match="no decoder ''"):
        registry.from_json(DecoderConfig, {"n": 3})


def test_config_classes_are_found_by_their_python_names() -> None:
    other = attrs.make_class("TwistedDecoder", {}, bases=(DecoderConfig,), frozen=True)
    other.__module__ = "mutants.others"
    registry = Registry([MINE, Plugin("again", "again 1", (TwistedDecoder, other))])
    assert registry.class_named("TwistedMetric") is TwistedMetric
    with pytest.raises(PrefixcapError, match=r"'TwistedMetrik'; did you mean 'TwistedMetric'\?"):
        registry.class_named("TwistedMetrik")
    with pytest.raises(PrefixcapError, match=r"is a config class in mutants\.configs and mutants"):
        registry.class_named("TwistedDecoder")


def test_every_config_class_is_a_name_of_the_package() -> None:
    registry = Registry()
    for plugin in registry.plugins:
        for component in plugin.components:
            assert getattr(prefixcap, component.__name__) is component


def test_a_misspelt_name_of_the_package_is_an_attribute_error_with_the_nearest() -> None:
    with pytest.raises(AttributeError, match=r"'Greedi'; did you mean 'Greedy'\?"):
        prefixcap.Greedi  # noqa: B018
    with pytest.raises(AttributeError, match="has no attribute 'greedy_search'"):
        prefixcap.greedy_search  # noqa: B018
    assert not hasattr(prefixcap, "__wrapped__")


@pytest.mark.parametrize("name", sorted(prefixcap._HOMES))
def test_every_public_name_exists(name: str) -> None:
    result = getattr(prefixcap, name)
    assert getattr(result, "__name__", name) == name
