"""A model of the store: one run, two workers, and everything that may happen between any two commits.

The run: ``a`` and ``b`` side by side with the timer ``s``, then ``j``, then a wait for the event ``e``. Each action
is one commit of the real store, or something that befalls a worker between two commits. A worker knows what it read,
not what is there. Tokens and the wake counter only grow, so all that is kept of them is what they decide: whether a
worker's token is still the newest (``valid``), and whether the counter has moved since it was read (``moved``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum
from typing import NamedTuple

STEPS = ("a", "b", "s", "j", "e")
FANNED_OUT = ("a", "b")
BODIES = ("a", "b", "j")

Label = tuple[str, ...]


class Rule(Enum):
    """When a turn may be given back as not due."""

    #: The counter is what it was when the turn was claimed, before the journal was read.
    COUNTER = "counter"
    #: The counter is read after the journal.
    LATE_COUNTER = "late counter"
    #: Always.
    NONE = "none"


class Worker(NamedTuple):
    """A worker with a claim, and what it knows."""

    key: str
    phase: str
    valid: bool = True
    moved: bool = False
    seen: frozenset[str] = frozenset()
    registered: bool = False
    saw_event: bool = False
    saw_paused: bool = False


class State(NamedTuple):
    """What is in the database, who is at work, and what may still go wrong."""

    run: str = "running"
    #: parked, timer (due when ``s`` wakes), due (claimable) or held.
    turn: str = "due"
    steps: tuple[str, ...] = ("-",) * len(STEPS)
    #: The step deliveries: none, parked, due or held.
    subs: tuple[str, ...] = ("none",) * len(FANNED_OUT)
    elapsed: bool = False
    event: bool = False
    bodies: tuple[int, ...] = (0,) * len(BODIES)
    workers: tuple[Worker | None, ...] = (None, None)
    faults: int = 0
    cancels: int = 0
    pauses: int = 0

    def step(self, key: str) -> str:
        return self.steps[STEPS.index(key)]

    def delivery(self, key: str) -> str:
        return self.turn if key == "" else self.subs[FANNED_OUT.index(key)]


class ViolationError(AssertionError):
    """The model does what must not happen."""


def _set(values: tuple[str, ...], index: int, value: str) -> tuple[str, ...]:
    return (*values[:index], value, *values[index + 1 :])


class Model:
    """The actions that are possible in a state, and where each one leads."""

    def __init__(self, rule: Rule = Rule.COUNTER) -> None:
        self.rule = rule

    def actions(self, state: State) -> Iterator[tuple[Label, State]]:
        """Return every action that may come next, with the state after it."""
        yield from self._surroundings(state)
        for number, worker in enumerate(state.workers):
            if worker is None:
                yield from self._claims(state, number)
            else:
                yield from self._work(state, number, worker)
                yield from self._faults(state, number, worker)

    # What happens around the workers

    def _surroundings(self, state: State) -> Iterator[tuple[Label, State]]:
        if state.run in ("completed", "cancelled"):
            return
        if state.step("s") == "open" and not state.elapsed:
            turn = "due" if state.turn == "timer" else state.turn
            yield ("tick",), state._replace(elapsed=True, turn=turn)
        if not state.event:
            yield ("notify",), self._wake(state._replace(event=True))
        if state.cancels:
            steps = tuple("cancelled" if step == "open" else step for step in state.steps)
            yield ("cancel",), self._end(state, "cancelled")._replace(cancels=0, steps=steps)
        if state.pauses and state.run == "running":
            paused = state._replace(run="paused", pauses=state.pauses - 1)
            yield ("pause",), self._move(paused, "")
        if state.run == "paused":
            going = state._replace(run="running")
            for key in FANNED_OUT:
                going = self._move(going, key)
                if going.delivery(key) == "parked":
                    going = self._put(going, key, "due")
            yield ("unpause",), self._wake(going)

    def _wake(self, state: State) -> State:
        if state.turn in ("parked", "timer"):
            state = state._replace(turn="due")
        return self._move(state, "")

    def _move(self, state: State, key: str) -> State:
        """Raise the counter of a delivery: its holder, if there is one, will find it moved."""
        workers = tuple(
            worker._replace(moved=True) if worker and worker.valid and worker.key == key else worker
            for worker in state.workers
        )
        return state._replace(workers=workers)

    def _put(self, state: State, key: str, value: str) -> State:
        if key == "":
            return state._replace(turn=value)
        return state._replace(subs=_set(state.subs, FANNED_OUT.index(key), value))

    def _end(self, state: State, status: str) -> State:
        workers = tuple(worker and worker._replace(valid=False) for worker in state.workers)
        return state._replace(
            run=status, turn="none", subs=("none",) * len(FANNED_OUT), workers=workers
        )

    # Claims, crashes, zombies

    def _claims(self, state: State, number: int) -> Iterator[tuple[Label, State]]:
        for key in ("", *FANNED_OUT):
            if state.delivery(key) == "due":
                # Whoever holds it still, its lease being over, is fenced from here on.
                workers = tuple(
                    other._replace(valid=False) if other and other.key == key else other
                    for other in state.workers
                )
                claimed = self._put(state._replace(workers=workers), key, "held")
                worker = Worker(key, "claimed", saw_paused=state.run == "paused")
                yield ("claim", str(number), key), self._with(claimed, number, worker)

    def _faults(self, state: State, number: int, worker: Worker) -> Iterator[tuple[Label, State]]:
        if not state.faults:
            return
        left = state._replace(faults=state.faults - 1)
        over = self._put(left, worker.key, "due") if self._holds(state, worker) else left
        yield ("crash", str(number)), self._with(over, number, None)
        if self._holds(state, worker):
            yield ("lease ends", str(number)), over

    def _holds(self, state: State, worker: Worker) -> bool:
        return worker.valid and state.delivery(worker.key) == "held"

    def _with(self, state: State, number: int, worker: Worker | None) -> State:
        workers = (*state.workers[:number], worker, *state.workers[number + 1 :])
        return state._replace(workers=workers)

    # A worker's next commit

    def _work(self, state: State, number: int, worker: Worker) -> Iterator[tuple[Label, State]]:
        name = str(number)
        if worker.phase == "claimed":
            yield ("load", name), self._with(state, number, self._loaded(state, worker))
        elif worker.phase == "uncounted":
            counted = worker._replace(phase="loaded", moved=False)
            yield ("count", name), self._with(state, number, counted)
        elif worker.phase == "ran":
            yield self._record(state, number, worker, worker.key or "j")
        elif worker.phase == "exhausted":
            yield ("again", name), self._give_back(state, number, worker, due=True)
        elif worker.saw_paused:
            yield self._stand_still(state, number, worker)
        elif worker.key:
            yield self._body(state, number, worker, worker.key)
        else:
            yield self._pass(state, number, worker)

    def _loaded(self, state: State, worker: Worker) -> Worker:
        return worker._replace(
            phase="uncounted" if self.rule is Rule.LATE_COUNTER else "loaded",
            seen=frozenset(key for key in STEPS if state.step(key) == "done")
            | (
                frozenset({"elapsed"})
                if state.elapsed and state.step("s") == "open"
                else frozenset()
            ),
            registered=state.step("a") != "-",
            saw_event=state.event,
        )

    def _stand_still(self, state: State, number: int, worker: Worker) -> tuple[Label, State]:
        if not worker.key and "elapsed" in worker.seen:
            return self._record(state, number, worker, "s")
        return ("hold", str(number)), self._give_back(state, number, worker, due=False)

    def _pass(self, state: State, number: int, worker: Worker) -> tuple[Label, State]:
        if "elapsed" in worker.seen:
            return self._record(state, number, worker, "s")
        if not {"a", "b", "s"} <= worker.seen:
            return self._wait(state, number, worker, ("a", "b", "s"))
        if "j" not in worker.seen:
            return self._body(state, number, worker, "j")
        if "e" not in worker.seen:
            if worker.saw_event:
                return self._record(state, number, worker, "e")
            return self._wait(state, number, worker, ("e",))
        return self._complete(state, number, worker)

    def _body(self, state: State, number: int, worker: Worker, key: str) -> tuple[Label, State]:
        index = BODIES.index(key)
        bodies = (*state.bodies[:index], state.bodies[index] + 1, *state.bodies[index + 1 :])
        ran = self._with(state._replace(bodies=bodies), number, worker._replace(phase="ran"))
        return ("body", str(number), key), ran

    def _record(self, state: State, number: int, worker: Worker, key: str) -> tuple[Label, State]:
        label = ("record", str(number), key)
        if not worker.valid:
            return label, self._with(state, number, None)
        if state.step(key) == "done":
            raise ViolationError(f"{key} is recorded twice")
        after = state._replace(steps=_set(state.steps, STEPS.index(key), "done"))
        if worker.key:
            return label, self._wake(self._with(self._put(after, key, "none"), number, None))
        seen = (worker.seen - ({"elapsed"} if key == "s" else set())) | {key}
        exhausted = worker.moved and key != "s" and self.rule is not Rule.NONE
        phase = "exhausted" if exhausted else "loaded"
        return label, self._with(after, number, worker._replace(phase=phase, seen=seen))

    def _wait(
        self, state: State, number: int, worker: Worker, keys: tuple[str, ...]
    ) -> tuple[Label, State]:
        label = ("wait", str(number), *keys)
        if not worker.valid:
            return label, self._with(state, number, None)
        after = state
        for key in keys:
            if after.step(key) == "-":
                after = after._replace(steps=_set(after.steps, STEPS.index(key), "open"))
                if key in FANNED_OUT:
                    after = self._put(after, key, "due")
        return label, self._give_back(after, number, worker, due=False)

    def _give_back(self, state: State, number: int, worker: Worker, *, due: bool) -> State:
        after = self._with(state, number, None)
        if not worker.valid:
            return after
        if due or (worker.moved and self.rule is not Rule.NONE):
            return self._put(after, worker.key, "due")
        if not worker.key and state.step("s") == "open":
            return after._replace(turn="due" if state.elapsed else "timer")
        return self._put(after, worker.key, "parked")

    def _complete(self, state: State, number: int, worker: Worker) -> tuple[Label, State]:
        label = ("complete", str(number))
        if not worker.valid:
            return label, self._with(state, number, None)
        if state.run != "running":
            return label, self._give_back(state, number, worker, due=True)
        return label, self._with(self._end(state, "completed"), number, None)


def check(state: State, faults: int) -> None:
    """Hold a state against the promise.

    Raises:
        ViolationError: it breaks it.
    """
    spent = faults - state.faults
    if any(count > 1 + spent for count in state.bodies):
        raise ViolationError(f"a body ran twice without a crash: {state}")
    if state.run == "completed" and set(state.steps) != {"done"}:
        raise ViolationError(f"completed without its steps: {state}")
    if state.run != "running":
        return
    if state.turn in ("parked", "timer") and _has_something_to_do(state):
        raise ViolationError(f"nobody will wake the run: {state}")
    for key in FANNED_OUT:
        if state.step(key) == "open" and state.delivery(key) not in ("due", "held"):
            raise ViolationError(f"nobody will execute {key}: {state}")


def _has_something_to_do(state: State) -> bool:
    joined = all(state.step(key) == "done" for key in ("a", "b", "s"))
    return (
        (state.step("a") == "-")
        or (state.step("s") == "open" and state.elapsed)
        or (state.step("s") == "open" and state.turn == "parked")
        or (joined and state.step("j") != "done")
        or (state.step("j") == "done" and state.step("e") == "-")
        or (state.step("e") == "open" and state.event)
        or (state.step("e") == "done")
    )


def _alike(state: State) -> State:
    """Return the one of two states that differ only in which worker is which."""
    one, two = state.workers
    return state if hash(one) <= hash(two) else state._replace(workers=(two, one))


class Explored(NamedTuple):
    """What an exploration has come upon."""

    states: int
    ends: frozenset[str]


def explore(model: Model, start: State) -> Explored:
    """Visit every state that can be reached, and hold each one against the promise.

    Raises:
        ViolationError: one of them breaks it, or nothing can happen any more in an unfinished run.
    """
    known = {_alike(start)}
    queue = deque([start])
    ends = set()
    while queue:
        state = queue.popleft()
        check(state, start.faults)
        following = [after for _, after in model.actions(state)]
        if not following:
            if state.run not in ("completed", "cancelled"):
                raise ViolationError(f"nothing can happen any more: {state}")
            ends.add(state.run)
        for after in following:
            if (alike := _alike(after)) not in known:
                known.add(alike)
                queue.append(after)
    return Explored(len(known), frozenset(ends))


def walk(
    model: Model, start: State, choose: Callable[[list[tuple[Label, State]]], tuple[Label, State]]
) -> Iterator[tuple[Label, State]]:
    """Follow one schedule to its end, and return each action with the state after it."""
    state = start
    while following := list(model.actions(state)):
        label, state = choose(following)
        yield label, state
