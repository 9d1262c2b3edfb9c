"""Random workflows: programs as data, run by a sync and by an async interpreter, and what they must return."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from django_workflow.core.exceptions import StepError


@dataclass(frozen=True)
class Do:
    """A step whose body returns its place in the program, or fails."""

    name: str
    fails: bool = False


@dataclass(frozen=True)
class Sleep:
    """A step without a body."""

    name: str


@dataclass(frozen=True)
class Loop:
    """The same steps again and again, under the same names."""

    body: tuple[Any, ...]
    times: int


@dataclass(frozen=True)
class Patched:
    """Steps behind ``ctx.patched()``."""

    patch_id: str
    body: tuple[Any, ...]


@dataclass(frozen=True)
class Draw:
    """A value that needs no record: uuid, random and now."""


@dataclass(frozen=True)
class Fork:
    """Branches side by side; ``how`` is parallel, gather or group, of which a sync program knows the first."""

    how: str
    branches: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Doomed:
    """A task group whose first branch raises at its end; the others tidy up in a step when they are cancelled."""

    branches: tuple[tuple[Any, ...], ...]


class Doom(Exception):  # noqa: N818 - an end, not an error
    """What the first branch of a doomed group raises."""


@dataclass
class Trace:
    """What one pass has seen: the results of steps, in order, and the values drawn between them."""

    events: list[Any] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)

    def saw(self, place: str, what: Any) -> Any:
        self.events.append((place, what))
        return what


def body(place: str, *, fails: bool) -> str:
    if fails:
        raise ValueError(place)
    return place


def expected(program: tuple[Any, ...], place: str = "") -> list[Any]:
    """Return what a program without doomed groups returns, however its branches interleave."""
    return [_expected(node, f"{place}.{index}") for index, node in enumerate(program)]


def _expected(node: Any, place: str) -> Any:
    match node:
        case Do(fails=fails):
            return "failed" if fails else place
        case Loop(body=inner, times=times):
            return [expected(inner, f"{place}:{turn}") for turn in range(times)]
        case Patched(body=inner):
            return expected(inner, place)
        case Fork(branches=branches):
            return [expected(branch, f"{place}/{i}") for i, branch in enumerate(branches)]
        case _:
            return None


def without_patches(program: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the program as it was before the code behind ``ctx.patched()`` was put in."""
    return tuple(_unpatched(node) for node in program if not isinstance(node, Patched))


def _unpatched(node: Any) -> Any:
    match node:
        case Loop(body=inner, times=times):
            return Loop(without_patches(inner), times)
        case Fork(how=how, branches=branches):
            return Fork(how, tuple(map(without_patches, branches)))
        case _:
            return node


def sync_workflow(program: tuple[Any, ...], traces: list[Trace]) -> Callable[[Any], list[Any]]:
    """Return the program as a sync workflow; each pass adds a trace."""

    def workflow(ctx: Any) -> list[Any]:
        traces.append(Trace())
        return _sync(program, ctx, "", traces[-1])

    return workflow


def _sync(program: tuple[Any, ...], ctx: Any, place: str, trace: Trace) -> list[Any]:
    return [_sync_node(node, ctx, f"{place}.{index}", trace) for index, node in enumerate(program)]


def _sync_node(node: Any, ctx: Any, place: str, trace: Trace) -> Any:
    match node:
        case Do(name=name, fails=fails):
            try:
                return trace.saw(place, ctx.run(name, body, place, fails=fails))
            except StepError as error:
                trace.saw(place, str(error))
                return "failed"
        case Sleep(name=name):
            return trace.saw(place, ctx.sleep(name, "1h"))
        case Loop(body=inner, times=times):
            return [_sync(inner, ctx, f"{place}:{turn}", trace) for turn in range(times)]
        case Patched(patch_id=patch_id, body=inner):
            return _sync(inner, ctx, place, trace) if ctx.patched(patch_id) else "unpatched"
        case Draw():
            trace.values[place] = ctx.uuid(), ctx.random(), ctx.now()
            return None
        case Fork(branches=branches):
            calls = [
                lambda inner=inner, i=i: _sync(inner, ctx, f"{place}/{i}", trace)
                for i, inner in enumerate(branches)
            ]
            return list(ctx.parallel(*calls))


def async_workflow(program: tuple[Any, ...], traces: list[Trace]) -> Callable[[Any], Any]:
    """Return the program as an async workflow; each pass adds a trace."""

    async def workflow(ctx: Any) -> list[Any]:
        traces.append(Trace())
        return await _async(program, ctx, "", traces[-1])

    return workflow


async def _async(program: tuple[Any, ...], ctx: Any, place: str, trace: Trace) -> list[Any]:
    return [
        await _async_node(node, ctx, f"{place}.{index}", trace)
        for index, node in enumerate(program)
    ]


async def _async_node(node: Any, ctx: Any, place: str, trace: Trace) -> Any:
    match node:
        case Do(name=name, fails=fails):
            try:
                return trace.saw(place, await ctx.run(name, body, place, fails=fails))
            except StepError as error:
                trace.saw(place, str(error))
                return "failed"
        case Sleep(name=name):
            return trace.saw(place, await ctx.sleep(name, "1h"))
        case Loop(body=inner, times=times):
            return [await _async(inner, ctx, f"{place}:{turn}", trace) for turn in range(times)]
        case Patched(patch_id=patch_id, body=inner):
            return await _async(inner, ctx, place, trace) if ctx.patched(patch_id) else "unpatched"
        case Draw():
            trace.values[place] = await ctx.uuid(), await ctx.random(), await ctx.now()
            return None
        case Fork(how=how, branches=branches):
            calls = [_async(inner, ctx, f"{place}/{i}", trace) for i, inner in enumerate(branches)]
            return await _fork(how, ctx, calls)
        case Doomed(branches=branches):
            return await _doomed(branches, ctx, place, trace)


async def _fork(how: str, ctx: Any, calls: list[Any]) -> list[Any]:
    if how == "parallel":
        return list(await ctx.parallel(*calls))
    if how == "gather":
        return list(await asyncio.gather(*calls))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(call) for call in calls]
    return [task.result() for task in tasks]


async def _doomed(
    branches: tuple[tuple[Any, ...], ...],
    ctx: Any,
    place: str,
    trace: Trace,
) -> Any:
    async def doom() -> None:
        await _async(branches[0], ctx, f"{place}/0", trace)
        raise Doom

    async def victim(inner: tuple[Any, ...], place: str) -> None:
        done = False
        try:
            await _async(inner, ctx, place, trace)
            done = True
        finally:
            if not done:
                trace.saw(place, await ctx.run("tidy up", body, place, fails=False))

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(doom())
            for index, inner in enumerate(branches[1:], 1):
                group.create_task(victim(inner, f"{place}/{index}"))
    except* Doom:
        pass
    return None


# Names that read as branches and occurrences are among them, and few enough to meet again.
names = st.sampled_from(["a", "b", "c", "a#2", "p1.0/a", "/", "#", "t1/a"])
leaves = st.one_of(
    st.builds(Do, names, st.sampled_from([False, False, True])),
    st.builds(Sleep, names),
    st.just(Draw()),
)


def programs(*, is_async: bool, doomed: bool = False) -> st.SearchStrategy[tuple[Any, ...]]:
    """Return a strategy for programs of a few dozen steps at most."""
    ways = ["parallel", "gather", "group"] if is_async else ["parallel"]

    def deeper(node: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        several = st.lists(node, max_size=3).map(tuple)
        branches = st.lists(several, min_size=1, max_size=3).map(tuple)
        kinds = [
            st.builds(Fork, st.sampled_from(ways), branches),
            st.builds(Loop, several, st.integers(1, 2)),
            st.builds(Patched, st.sampled_from(["new", "newer"]), several),
        ]
        if doomed:
            kinds += [st.builds(Doomed, branches)] * 2
        return st.one_of(kinds)

    nodes = st.recursive(leaves, deeper, max_leaves=10)
    return st.lists(nodes, max_size=5).map(tuple)
