from __future__ import annotations

import json
import sys
from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_workflow.core import codec as codec_module
from django_workflow.core.codec import Codec
from django_workflow.core.exceptions import (
    InvalidOptionError,
    NotSerializableError,
    PayloadTooLargeError,
    UndecodableValueError,
)


class Colour(Enum):
    RED = 1


class Level(IntEnum):
    HIGH = 3


class Mood(StrEnum):
    GLAD = "glad"


@dataclass
class Money:
    amount: Decimal
    currency: str = "EUR"


@dataclass(frozen=True, slots=True)
class Line:
    sku: str
    price: Any
    tags: list[Any] = field(default_factory=list)


class Email(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "hidden"


class Count(int):
    def __int__(self) -> int:
        return -1

    def __repr__(self) -> str:
        return "Count"


class Share(float):
    pass


class Stamp(datetime):
    pass


class NoTime(datetime):
    """As pandas' NaT: a datetime in name only."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return False


Point = namedtuple("Point", "x y")


class Model:
    def __init__(self, pk: int) -> None:
        self.pk = pk


def iter_of_one() -> Iterator[int]:
    yield 1


@pytest.fixture
def codec() -> Codec:
    return Codec()


def typed(value: Any) -> Any:
    """Return the value with its types and the parts that equality overlooks."""
    kind: type = type(value)
    shown: Callable[[], Any] = {
        list: lambda: [typed(item) for item in value],
        tuple: lambda: [typed(item) for item in value],
        dict: lambda: {key: typed(item) for key, item in value.items()},
        datetime: lambda: (value.isoformat(), type(value.tzinfo)),
        time: lambda: (value.isoformat(), type(value.tzinfo)),
    }.get(kind, lambda: repr(value))
    return kind.__name__, shown()


# A surrogate pair in two characters is the documented exception, hence no high surrogates.
texts = st.text(
    st.characters(exclude_categories=[]).filter(lambda char: not "\ud800" <= char <= "\udbff")
)
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.uuids()
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.datetimes()
    | st.datetimes(timezones=st.timezones(), allow_imaginary=False)
    | st.datetimes(timezones=st.just(timezone(timedelta(hours=5, minutes=45))))
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.sampled_from(["$", "v", "a"]) | texts, inner)
    ),
    max_leaves=20,
)


@given(values)
def test_value_is_read_back_with_its_types(value: Any) -> None:
    codec = Codec()

    restored = codec.loads(codec.dumps(value, what="value"))

    assert typed(restored) == typed(value)


@settings(max_examples=30)
@given(values)
def test_text_is_ascii_and_the_same_after_a_round_trip(value: Any) -> None:
    codec = Codec()

    text = codec.dumps(value, what="value")

    assert text.isascii()
    assert codec.dumps(codec.loads(text), what="value") == text


@settings(max_examples=30)
@given(st.text())
def test_any_text_is_decoded_or_clearly_refused(text: str) -> None:
    assert outcome_of_reading(text) in {"value", "refused"}


@settings(max_examples=50)
@given(st.recursive(st.none() | st.integers() | st.sampled_from(["datetime", "tuple", "dict", "x"]),
       lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["$", "v", "a"]), inner)))  # fmt: skip
def test_any_json_with_tags_is_decoded_or_clearly_refused(raw: Any) -> None:
    assert outcome_of_reading(json.dumps(raw)) in {"value", "refused"}


def outcome_of_reading(text: str) -> str:
    try:
        Codec().loads(text)
    except UndecodableValueError:
        return "refused"
    return "value"


def test_plain_values_are_stored_as_plain_compact_json(codec: Codec) -> None:
    value = {"id": 42, "price": 9.5, "ok": True, "none": None, "rows": [{"a": "b"}, []]}

    text = codec.dumps(value, what="result")

    assert text == '{"id":42,"price":9.5,"ok":true,"none":null,"rows":[{"a":"b"},[]]}'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (datetime(2030, 1, 2, 3, 4, 5, 6, tzinfo=UTC), '{"$":"datetime","v":"2030-01-02T03:04:05.000006+00:00"}'),
        (datetime(2030, 7, 1, tzinfo=ZoneInfo("Europe/Paris")), '{"$":"datetime","v":"2030-07-01T00:00:00+02:00[Europe/Paris]"}'),
        (date(2030, 1, 2), '{"$":"date","v":"2030-01-02"}'),
        (time(9, 30), '{"$":"time","v":"09:30:00"}'),
        (timedelta(days=-1, seconds=2, microseconds=3), '{"$":"timedelta","v":[-1,2,3]}'),
        (Decimal("9.90"), '{"$":"decimal","v":"9.90"}'),
        (UUID(int=1), '{"$":"uuid","v":"00000000-0000-0000-0000-000000000001"}'),
        ((1, "a"), '{"$":"tuple","v":[1,"a"]}'),
        ({"$": "datetime", "v": 1}, '{"$":"dict","v":[["$","datetime"],["v",1]]}'),
    ],
    ids=repr,
)  # fmt: skip
def test_stored_form_stays_as_it_is(codec: Codec, value: Any, text: str) -> None:
    assert codec.dumps(value, what="result") == text
    assert typed(codec.loads(text)) == typed(value)


@pytest.mark.parametrize(
    "text", ["nul \x00", "lone \ud800", "lone \udfff x", "é😀\u2028", "\x7f\x1f"]
)
def test_any_character_survives(codec: Codec, text: str) -> None:
    restored = codec.loads(codec.dumps({text: text}, what="result"))

    assert restored == {text: text}


@pytest.mark.parametrize("number", [10**4_000, -(10**4_000), 2**64, 5e-324, 1.7976931348623157e308],
                         ids=["huge", "-huge", "2**64", "tiny", "max"])  # fmt: skip
def test_large_numbers_survive(codec: Codec, number: float) -> None:
    assert codec.copy([number]) == [number]


def test_zone_keeps_its_rules(codec: Codec) -> None:
    winter = datetime(2030, 1, 1, tzinfo=ZoneInfo("Europe/Paris"))

    restored = codec.copy(winter)

    assert (restored + timedelta(days=180)).utcoffset() == timedelta(hours=2)


@pytest.mark.parametrize("fold", [0, 1])
def test_second_of_two_equal_wall_times_is_told_from_the_first(codec: Codec, fold: int) -> None:
    ambiguous = datetime(2030, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Paris"), fold=fold)

    assert codec.copy(ambiguous).timestamp() == ambiguous.timestamp()


def test_wall_time_that_never_was_is_kept(codec: Codec) -> None:
    imaginary = datetime(2030, 3, 31, 2, 30, tzinfo=ZoneInfo("Europe/Paris"))

    assert codec.copy(imaginary).isoformat() == imaginary.isoformat()


def test_moment_keeps_its_instant_when_the_rules_of_its_zone_have_changed(codec: Codec) -> None:
    text = '{"$":"datetime","v":"2030-07-01T12:00:00+05:00[Europe/Paris]"}'

    restored = codec.loads(text)

    assert restored == datetime(2030, 7, 1, 7, tzinfo=UTC)
    assert restored.isoformat() == "2030-07-01T09:00:00+02:00"


def test_time_of_day_keeps_its_zone(codec: Codec) -> None:
    assert codec.copy(time(9, tzinfo=ZoneInfo("Europe/Paris"))).tzinfo == ZoneInfo("Europe/Paris")


@pytest.mark.parametrize(
    ("value", "base"),
    [
        (Email("ann@example.org"), "ann@example.org"),
        (Count(7), 7),
        (Share(0.5), 0.5),
        (Stamp(2030, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)),
        ({Email("ann@example.org"): 1}, {"ann@example.org": 1}),
    ],
    ids=["str", "int", "float", "datetime", "key"],
)
def test_subclass_of_a_scalar_is_stored_as_its_base(codec: Codec, value: Any, base: Any) -> None:
    assert typed(codec.copy(value)) == typed(base)


def test_what_is_read_back_shares_nothing_with_the_value(codec: Codec) -> None:
    value = {"rows": [1]}

    codec.copy(value)["rows"].append(2)

    assert value == {"rows": [1]}


@pytest.mark.parametrize(
    ("value", "path", "reason"),
    [
        (float("nan"), "result", "is nan, which JSON does not have"),
        ({"a": [0, float("inf")]}, 'result["a"][1]', "is inf"),
        ({"a": (0, -float("inf"))}, 'result["a"][1]', "is -inf"),
        ([Share("nan")], "result[0]", "is nan"),
        ([Decimal("NaN")], "result[0]", "NaN is no number"),
        ([NoTime(2030, 1, 1)], "result[0]", "NoTime, which cannot be stored"),
        ({"tags": {"a"}}, 'result["tags"]', "of class set.* Store a sorted list"),
        ([frozenset()], "result[0]", "of class frozenset.* Store a sorted list"),
        ([b"x"], "result[0]", "of class bytes.* Store text"),
        ({"a": {3: 1}}, 'result["a"]', "has the key 3 of class int, and keys must be text"),
        ([{None: 1}], "result[0]", "has the key None"),
        ([{Mood.GLAD: 1}], "result[0]", "has the key <Mood.GLAD: 'glad'> of class Mood"),
        ({("a", "b"): 1}, "result", "has the key"),
        (object(), "result", "of class object.* register its class with register_type"),
        ([Model(1)], "result[0]", "Model, which cannot be stored"),
        ([Money], "result[0]", "of class type"),
        ([Colour.RED], "result[0]", "Colour, which.* register_enum, or store its value"),
        ({"level": Level.HIGH}, 'result["level"]', "register_enum"),
        ({"mood": Mood.GLAD}, 'result["mood"]', "register_enum"),
        ([Money(Decimal(1))], "result[0]", "Money, which.* register_dataclass"),
        ([Point(1, 2)], "result[0]", r"Point, which.* Store tuple\(...\) of it, or register"),
        ([OrderedDict()], "result[0]", r"collections.OrderedDict.* Store dict\(...\)"),
        ([defaultdict(list)], "result[0]", r"collections.defaultdict.* Store dict\(...\)"),
        ([range(3)], "result[0]", r"Store list\(...\)"),
        ([iter_of_one()], "result[0]", r"Store list\(...\)"),
        ([10**5_000], "result[0]", "is an integer of too many digits"),
        ([(10**5_000,)], "result[0][0]", "is an integer of too many digits"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_value_that_cannot_be_stored_is_refused_with_its_path(
    codec: Codec, value: Any, path: str, reason: str
) -> None:
    with pytest.raises(NotSerializableError, match=reason) as caught:
        codec.dumps(value, what="result")

    assert caught.value.path == path
    assert str(caught.value).startswith(f"{path} ")
    assert str(caught.value).endswith(".")


def test_coroutine_is_refused_with_the_hint_to_await_it(codec: Codec) -> None:
    async def load() -> None: ...

    coroutine = load()

    with pytest.raises(NotSerializableError, match="Await it first"):
        codec.dumps(coroutine, what="result")

    coroutine.close()


def test_path_starts_with_the_word_for_the_whole(codec: Codec) -> None:
    with pytest.raises(NotSerializableError, match=r'^payload\["tags"\] is of class set'):
        codec.dumps({"tags": set()}, what="payload")


def test_path_leads_through_dataclasses_and_tuples(codec: Codec) -> None:
    codec.register_dataclass(Line)

    with pytest.raises(NotSerializableError) as caught:
        codec.dumps({"rows": [0, (Line("a", {"net": {1}}),)]}, what="result")

    assert caught.value.path == 'result["rows"][1][0].price["net"]'


def test_path_leads_through_dicts_that_hold_the_tag(codec: Codec) -> None:
    with pytest.raises(NotSerializableError) as caught:
        codec.dumps({"$": {"v": [b""]}}, what="result")

    assert caught.value.path == 'result["$"]["v"][0]'


def in_itself_dict() -> Any:
    value: dict[str, Any] = {"a": {}}
    value["a"]["b"] = value
    return value


def in_itself_list() -> Any:
    value: list[Any] = []
    value += [value, value]
    return value


def in_itself_tuple() -> Any:
    inner: list[Any] = []
    inner.append((inner,))
    return inner


def in_itself_dataclass() -> Any:
    line = Line("a", 1)
    line.tags.append(line)
    return line


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (in_itself_dict, 'result["a"]["b"]'),
        (in_itself_list, "result[0]"),
        (in_itself_tuple, "result[0][0]"),
        (in_itself_dataclass, "result.tags[0]"),
    ],
)
def test_cycle_is_refused_where_it_closes(codec: Codec, make: Callable[[], Any], path: str) -> None:
    codec.register_dataclass(Line)

    with pytest.raises(NotSerializableError, match="contains itself") as caught:
        codec.dumps(make(), what="result")

    assert caught.value.path == path


def nested(levels: int, wrap: Callable[[Any], Any]) -> Any:
    value: Any = None
    for _ in range(levels):
        value = wrap(value)
    return value


wraps = pytest.mark.parametrize(
    ("wrap", "levels"),
    [
        (lambda value: [value], 1),
        (lambda value: {"a": value}, 1),
        (lambda value: (value,), 2),
        (lambda value: {"$": value}, 3),
    ],
    ids=["list", "dict", "tuple", "dict with the tag"],
)


@wraps
def test_deep_value_survives(codec: Codec, wrap: Callable[[Any], Any], levels: int) -> None:
    value = nested(200 // levels, wrap)

    assert codec.copy(value) == value


@wraps
@pytest.mark.parametrize("depth", [201, 100_000])
def test_deeper_value_is_refused(
    codec: Codec, wrap: Callable[[Any], Any], levels: int, depth: int
) -> None:
    value = nested(depth, wrap)

    with pytest.raises(NotSerializableError, match="nested deeper than 200 levels") as caught:
        codec.dumps(value, what="result")

    assert len(str(caught.value)) < 300


def test_value_shared_by_many_is_no_cycle(codec: Codec) -> None:
    shared = [1]

    assert codec.copy([shared, shared, {"a": shared}]) == [[1], [1], {"a": [1]}]


def test_stack_that_is_nearly_full_gives_the_clear_error_too(codec: Codec) -> None:
    value = nested(190, lambda value: [value])

    with pytest.raises(NotSerializableError, match="what is left of the stack"):
        at_the_end_of_the_stack(lambda: codec.dumps(value, what="result"), spare=100)


def at_the_end_of_the_stack(function: Callable[[], Any], *, spare: int) -> Any:
    depth = 0
    frame = sys._getframe()
    while frame := frame.f_back:  # type: ignore[assignment]
        depth += 1

    def descend(levels: int) -> Any:
        return function() if levels == 0 else descend(levels - 1)

    return descend(sys.getrecursionlimit() - depth - spare)


def test_deeply_nested_text_is_refused_on_reading(codec: Codec) -> None:
    with pytest.raises(UndecodableValueError, match="is not what the codec wrote"):
        codec.loads("[" * 200_000 + "]" * 200_000)


def test_type_is_named_even_where_the_stack_ends_before_its_path(codec: Codec) -> None:
    text = "[" * 150 + '{"$":"gone","v":1}' + "]" * 150

    with pytest.raises(UndecodableValueError) as caught:
        at_the_end_of_the_stack(lambda: codec.loads(text), spare=190)

    assert caught.value.type_name == "gone"


def test_text_within_the_limit_is_taken(codec: Codec) -> None:
    assert codec.dumps("abc", what="payload", max_bytes=5) == '"abc"'


@pytest.mark.parametrize("value", ["é" * 1_000, ("é" * 1_000,)])
def test_text_over_the_limit_is_refused_with_both_sizes(codec: Codec, value: Any) -> None:
    size = len(codec.dumps(value, what="payload"))

    with pytest.raises(PayloadTooLargeError, match=f"payload takes {size:,} bytes, and at most 6,000 are") as caught:  # fmt: skip
        codec.dumps(value, what="payload", max_bytes=6_000)

    assert (caught.value.size, caught.value.limit) == (size, 6_000)


def test_registered_dataclass_is_read_back_as_itself(codec: Codec) -> None:
    codec.register_dataclass(Money)
    codec.register_dataclass(Line)
    line = Line("A-1", Money(Decimal("9.90")), [Money(Decimal(1), "USD")])

    restored = codec.copy(line)

    assert restored == line
    assert type(restored.price) is Money


def test_dataclass_is_stored_under_its_name_not_its_path(codec: Codec) -> None:
    codec.register_dataclass(Line, "order line")

    text = codec.dumps(Line("A-1", 2), what="result")

    assert text == '{"$":"order line","v":{"sku":"A-1","price":2,"tags":[]}}'


def test_registration_works_as_a_decorator(codec: Codec) -> None:
    @codec.register_dataclass
    @dataclass
    class Parcel:
        weight: int

    @codec.register_enum
    class Size(StrEnum):
        SMALL = "s"

    assert codec.copy([Parcel(3), Size.SMALL]) == [Parcel(3), Size.SMALL]


def test_registration_works_as_a_decorator_with_a_name(codec: Codec) -> None:
    @codec.register_dataclass(name="parcel")
    @dataclass
    class Parcel:
        weight: int

    @codec.register_enum(name="size")
    class Size(StrEnum):
        SMALL = "s"

    text = codec.dumps([Parcel(3), Size.SMALL], what="result")

    assert text == '[{"$":"parcel","v":{"weight":3}},{"$":"size","v":"SMALL"}]'


@pytest.mark.parametrize("member", [Colour.RED, Level.HIGH, Mood.GLAD])
def test_registered_enum_is_read_back_as_its_member(codec: Codec, member: Enum) -> None:
    codec.register_enum(type(member))

    assert codec.copy({"member": member})["member"] is member


def test_registered_subclass_of_a_plain_type_keeps_its_type(codec: Codec) -> None:
    codec.register_type("email", Email, lambda email: email[:], lambda text: Email(text))

    assert type(codec.copy(Email("ann@example.org"))) is Email


def test_encoded_form_may_hold_registered_types_again(codec: Codec) -> None:
    codec.register_type("model", Model, lambda model: (model.pk, date(2030, 1, 1)), lambda parts: Model(parts[0]))  # fmt: skip

    assert codec.copy(Model(7)).pk == 7


def test_encoder_that_raises_is_named_with_the_path(codec: Codec) -> None:
    codec.register_type("model", Model, lambda model: 1 / 0, lambda stored: Model(1))

    with pytest.raises(NotSerializableError, match=r'^result\[0\] cannot be stored as "model": division by zero') as caught:  # fmt: skip
        codec.dumps([Model(1)], what="result")

    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_type_that_is_not_registered_is_named_when_it_is_read(codec: Codec) -> None:
    text = '{"rows":[1,{"$":"order line","v":{"price":{"$":"decimal","v":"1"}}}]}'

    with pytest.raises(UndecodableValueError, match='register_type\\("order line"') as caught:
        codec.loads(text, what="result")

    assert (caught.value.type_name, caught.value.path) == ("order line", 'result["rows"][1]')
    assert str(caught.value).startswith('result["rows"][1] is a "order line"')


def test_type_inside_of_another_is_named_with_its_path(codec: Codec) -> None:
    codec.register_dataclass(Line)
    text = '{"$":"Line","v":{"sku":"a","price":[{"$":"Money","v":{}}]}}'

    with pytest.raises(UndecodableValueError) as caught:
        codec.loads(text)

    assert (caught.value.type_name, caught.value.path) == ("Money", 'value["price"][0]')


def test_value_that_its_type_refuses_now_is_named(codec: Codec) -> None:
    codec.register_dataclass(Line)

    with pytest.raises(UndecodableValueError, match='cannot be made a "Line" again: TypeError') as caught:  # fmt: skip
        codec.loads('[{"$":"Line","v":{"sku":"a","price":1,"gone":2}}]')

    assert (caught.value.type_name, caught.value.path) == ("Line", "value[0]")
    assert isinstance(caught.value.__cause__, TypeError)


def test_decoder_that_fails_now_and_then_is_named_all_the_same(codec: Codec) -> None:
    troubles = iter([ValueError("away"), None])
    codec.register_type("model", Model, lambda model: model.pk, lambda pk: moody(next(troubles)))

    with pytest.raises(UndecodableValueError, match="away") as caught:
        codec.loads('{"$":"model","v":1}')

    assert caught.value.type_name == "model"


def moody(trouble: Exception | None) -> Model:
    if trouble:
        raise trouble
    return Model(1)


@pytest.mark.parametrize(
    "text",
    [
        '{"$":"datetime"}',
        '{"$":"datetime","v":"2030-01-01","x":1}',
        '{"$":"datetime","x":"2030-01-01"}',
        '{"$":7,"v":1}',
        '{"$":[],"v":1}',
        '{"$":null,"v":1}',
    ],
)
def test_broken_tag_is_refused(codec: Codec, text: str) -> None:
    with pytest.raises(UndecodableValueError, match="without being a tag") as caught:
        codec.loads(text)

    assert caught.value.type_name is None


@pytest.mark.parametrize(
    "text", ["", "{", "[1,]", "NaN", "[Infinity]", '{"a":-Infinity}', "x", '{"$":']
)
def test_text_that_is_no_json_is_refused(codec: Codec, text: str) -> None:
    with pytest.raises(UndecodableValueError, match=r"^payload is not what the codec wrote"):
        codec.loads(text, what="payload")


def test_tag_is_found_in_text_that_was_laid_out_anew(codec: Codec) -> None:
    text = json.dumps(json.loads(codec.dumps([(1, 2)], what="result")), indent=2)

    assert codec.loads(text) == [(1, 2)]


def test_text_that_looks_like_a_tag_stays_text(codec: Codec) -> None:
    value = {"note": '{"$":"datetime","v":"2030-01-01"}'}

    assert codec.copy(value) == value


def test_name_that_another_class_has_is_refused(codec: Codec) -> None:
    codec.register_dataclass(Money, "thing")

    with pytest.raises(InvalidOptionError, match=r'"thing" belongs to .*Money already'):
        codec.register_dataclass(Line, "thing")


def test_class_that_has_another_name_is_refused(codec: Codec) -> None:
    codec.register_dataclass(Money, "money")

    with pytest.raises(InvalidOptionError, match='Money is registered as "money" already'):
        codec.register_dataclass(Money, "cash")


@pytest.mark.parametrize("name", ["datetime", "dict", "tuple"])
def test_name_of_a_built_in_type_is_refused(codec: Codec, name: str) -> None:
    with pytest.raises(InvalidOptionError, match=f'"{name}" belongs to'):
        codec.register_dataclass(Money, name)


def test_built_in_type_cannot_be_replaced(codec: Codec) -> None:
    with pytest.raises(InvalidOptionError, match=r'"date" belongs to datetime\.date already'):
        codec.register_type("date", date, str, date.fromisoformat)


def test_class_can_be_registered_twice_as_when_its_module_is_imported_again(codec: Codec) -> None:
    def define() -> Any:
        @codec.register_dataclass
        @dataclass
        class Parcel:
            weight: int

        return Parcel

    define()
    parcel = define()(3)

    assert codec.copy(parcel) == parcel


@pytest.mark.parametrize("cls", [str, int, float, bool, type(None), dict, list, 7, Money(Decimal(1))], ids=str)  # fmt: skip
def test_plain_types_and_what_is_no_class_cannot_be_registered(codec: Codec, cls: Any) -> None:
    with pytest.raises(InvalidOptionError, match="cannot be registered"):
        codec.register_type("thing", cls, str, str)


@pytest.mark.parametrize("name", ["", None, 7])
def test_name_must_be_text(codec: Codec, name: Any) -> None:
    with pytest.raises(InvalidOptionError, match="name of a type must be text"):
        codec.register_type(name, Model, str, lambda stored: Model(1))


def test_fallback_turns_a_foreign_value_into_a_registered_one(codec: Codec) -> None:
    codec.register_dataclass(Line)
    codec.register_fallback(lambda value: isinstance(value, Model), lambda model: Line("ref", model.pk))  # fmt: skip

    restored: list[Any] = codec.copy([Model(7)])

    assert restored == [Line("ref", 7)]


def test_fallback_is_not_asked_for_registered_classes(codec: Codec) -> None:
    codec.register_dataclass(Line)
    codec.register_fallback(lambda value: isinstance(value, Line), lambda line: "fallback")

    assert codec.copy(Line("a", 1)) == Line("a", 1)


def test_fallback_is_asked_before_an_unregistered_enum_is_refused(codec: Codec) -> None:
    codec.register_fallback(lambda value: isinstance(value, Enum), lambda member: member.value)

    assert codec.copy([Mood.GLAD]) == ["glad"]


def test_first_fallback_that_accepts_is_asked(codec: Codec) -> None:
    codec.register_fallback(lambda value: isinstance(value, Enum), lambda member: "enum")
    codec.register_fallback(lambda value: isinstance(value, Model), lambda model: model.pk)
    codec.register_fallback(lambda value: True, lambda value: "anything")

    assert json.loads(codec.dumps([Model(7), object()], what="result")) == [7, "anything"]


def test_fallback_that_goes_in_circles_is_refused(codec: Codec) -> None:
    codec.register_fallback(lambda value: isinstance(value, Model), lambda model: model)

    with pytest.raises(NotSerializableError, match="nested deeper"):
        codec.dumps(Model(1), what="result")


def test_codecs_know_nothing_of_each_others_types() -> None:
    Codec().register_dataclass(Money)

    with pytest.raises(NotSerializableError):
        Codec().dumps(Money(Decimal(1)), what="result")


def test_module_registers_with_the_codec_it_offers() -> None:
    assert codec_module.register_type == codec_module.codec.register_type
    assert codec_module.register_dataclass == codec_module.codec.register_dataclass
    assert codec_module.register_enum == codec_module.codec.register_enum
