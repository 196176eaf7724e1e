"""Later sources win, key by key, and each value knows where it came from."""

from hypothesis import given
from hypothesis import strategies as st

from core.settings.merge import DEFAULT, Key, Origin, OriginKind, SettingsSource, Tree, drop_overruled, merge_sources

FILE = SettingsSource(OriginKind.FILE, {"server": {"port": 1, "host": "a"}, "models": {"x": {"slots": 2}}}, "c.toml")
ENVIRONMENT = SettingsSource(
    OriginKind.ENVIRONMENT, {"server": {"port": 2}}, names={("server", "port"): "BENCHTOP_SERVER_PORT"}
)
FLAGS = SettingsSource(OriginKind.FLAG, {"server": {"port": 3, "api_key": None}, "models": {"x": {}, "y": {}}})


def test_each_value_tells_its_last_source() -> None:
    merged = merge_sources([FILE, ENVIRONMENT])
    assert merged.values["server"] == {"port": 2, "host": "a"}
    assert merged.origin(("server", "port")) == Origin(OriginKind.ENVIRONMENT, "BENCHTOP_SERVER_PORT")
    assert merged.origin(("server", "host")) == Origin(OriginKind.FILE, "c.toml")
    assert merged.origin(("server", "api_key")) == DEFAULT


def test_none_is_not_given_and_an_empty_table_takes_nothing_away() -> None:
    merged = merge_sources([FILE, FLAGS])
    assert merged.values == {"server": {"port": 3, "host": "a"}, "models": {"x": {"slots": 2}, "y": {}}}
    assert merged.origin(("models", "x", "slots")).kind is OriginKind.FILE


def test_a_stronger_source_for_all_models_beats_a_weaker_one_for_a_single_model() -> None:
    shared = {"slots": ("model", "slots"), "ttl": ("pool", "model_ttl")}
    file = SettingsSource(OriginKind.FILE, {"model": {"slots": 1}, "models": {"x": {"slots": 2, "ttl": 5.0}, "y": {}}})
    assert drop_overruled(merge_sources([file]), shared).values == merge_sources([file]).values
    flags = SettingsSource(OriginKind.FLAG, {"model": {"slots": 8}})
    kept = drop_overruled(merge_sources([file, flags]), shared)
    assert kept.values == {"model": {"slots": 8}, "models": {"x": {"ttl": 5.0}, "y": {}}}
    assert ("models", "x", "slots") not in kept.origins


TREES = st.dictionaries(
    st.sampled_from("abc"),
    st.recursive(
        st.integers() | st.none(),
        lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
        max_leaves=6,
    ),
    max_size=3,
)


def leaves(tree: Tree, before: Key = ()) -> dict[Key, object]:
    found: dict[Key, object] = {}
    for name, value in tree.items():
        found |= leaves(value, (*before, name)) if isinstance(value, dict) else {(*before, name): value}
    return found


@given(TREES)
def test_merging_one_source_keeps_all_it_gives_and_nothing_else(tree: Tree) -> None:
    merged = merge_sources([SettingsSource(OriginKind.FILE, tree)])
    given = {key: value for key, value in leaves(tree).items() if value is not None}
    assert leaves(merged.values) == given
    assert merged.origins.keys() == given.keys()


@given(TREES, TREES)
def test_what_the_last_source_gives_always_stands(first: Tree, second: Tree) -> None:
    merged = merge_sources([SettingsSource(OriginKind.FILE, first), SettingsSource(OriginKind.FLAG, second)])
    stands = leaves(merged.values)
    for key, value in leaves(second).items():
        if value is not None:
            assert stands[key] == value
            assert merged.origin(key).kind is OriginKind.FLAG


@given(TREES, TREES)
def test_merging_leaves_the_sources_as_they_were(first: Tree, second: Tree) -> None:
    before = (leaves(first), leaves(second))
    merge_sources([SettingsSource(OriginKind.FILE, first), SettingsSource(OriginKind.FLAG, second)])
    assert (leaves(first), leaves(second)) == before
