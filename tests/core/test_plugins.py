"""Things by name, of the product and of plugins: what is lazy, and what a broken plugin may break."""

import logging
from collections.abc import Iterable

import pytest

from core.plugins import Plugin, PluginBroken, Registry, load_object

GROUP = "benchtop.tests"


class Lamp:
    name = "lamp"


class Torch:
    name = "torch"


class Misnamed:
    name = "another"


def plugin(name: str, attribute: str, package: str = "shop 1.0") -> Plugin:
    return Plugin(GROUP, name, f"{__name__}:{attribute}" if ":" not in attribute else attribute, package)


def registry(*plugins: Plugin) -> Registry[Lamp]:
    built_in = {"lamp": f"{__name__}:Lamp"}
    return Registry(GROUP, built_in, lambda made: made(), _fault, lambda _: plugins)


def _fault(made: object) -> str | None:
    return "it is dim" if isinstance(made, Dim) else None


class Dim(Lamp):
    name = "dim"


def names(things: Iterable[Lamp]) -> list[str]:
    return [thing.name for thing in things]


def test_metadata_is_not_read_for_what_is_built_in() -> None:
    def refuse(_: str) -> Iterable[Plugin]:
        raise AssertionError("nobody asked for a plugin")

    lazy: Registry[Lamp] = Registry(GROUP, {"lamp": f"{__name__}:Lamp"}, lambda made: made(), _fault, refuse)
    assert lazy.get("lamp").name == "lamp"
    assert next(iter(lazy)).name == "lamp"


def test_a_plugin_is_imported_when_it_is_asked_for_and_made_once() -> None:
    found = registry(plugin("torch", "Torch"), plugin("absent", "no.such.module:Thing"))
    assert found.names == ("lamp", "torch", "absent")
    assert found.get("torch") is found.get("torch")
    assert found.locate("torch") == f"{__name__}:Torch"
    with pytest.raises(KeyError):
        found.get("candle")


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (plugin("absent", "no.such.module:Thing"), "ModuleNotFoundError: No module named 'no'"),
        (plugin("absent", "NoSuchThing"), "AttributeError"),
        (plugin("absent", "Misnamed"), "it calls itself 'another'"),
        (plugin("dim", "Dim"), "it is dim"),
        (plugin("lamp", "Torch"), "lamp is the name of a built-in one"),
    ],
    ids=["module", "attribute", "misnamed", "unfit", "taken"],
)
def test_a_broken_plugin_is_left_out_and_told(broken: Plugin, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    found = registry(broken, plugin("torch", "Torch"))
    with caplog.at_level(logging.WARNING):
        assert names(found) == ["lamp", "torch"]
    (told,) = found.broken
    assert reason in str(told)
    assert "shop 1.0" in str(told)
    assert caplog.messages == [str(told)]
    assert names(found) == ["lamp", "torch"]
    assert isinstance(found.get("lamp"), Lamp)


def test_asking_for_a_broken_plugin_by_name_says_why() -> None:
    found = registry(plugin("absent", "no.such.module:Thing"))
    for _ in range(2):
        with pytest.raises(PluginBroken, match=r"The plugin absent \(benchtop.tests\) of shop 1.0 is left out"):
            found.get("absent")


def test_of_two_plugins_with_one_name_the_second_is_left_out() -> None:
    found = registry(plugin("torch", "Torch"), plugin("torch", "Misnamed", "stall 2.0"))
    assert names(found) == ["lamp", "torch"]
    assert [str(each) for each in found.broken] == [
        "The plugin torch (benchtop.tests) of stall 2.0 is left out: shop 1.0 has that name."
    ]


def test_a_module_that_ends_the_interpreter_when_imported_ends_nothing() -> None:
    found = registry(plugin("ending", f"{__name__}:ends"))
    assert names(found) == ["lamp"]
    assert "SystemExit" in str(found.broken[0])


def __getattr__(name: str) -> object:
    if name == "ends":
        raise SystemExit("goodbye")
    raise AttributeError(name)


def test_what_a_plugin_says_obeys_no_terminal() -> None:
    assert "\x1b" not in str(PluginBroken(plugin("torch", "Torch"), "\x1b[2Jgone"))


def test_an_object_is_found_by_module_and_attribute() -> None:
    assert load_object(f"{__name__}:Lamp") is Lamp
