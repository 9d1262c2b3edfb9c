"""What a workflow function is handed: the verbs, and what is known of its run.

Both contexts only name the step; the pass behind them decides whether it is recorded, executed or waited for.
A step is known by branch, name and occurrence, so verbs are methods of the context of a pass, not functions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from threading import Lock
from typing import Any, Generic, NoReturn, Protocol, TypeAlias, TypeVar
from uuid import UUID

from django_workflow.core.exceptions import MisplacedStepError
from django_workflow.core.steps import NO_OPTIONS, Step, StepOptions
from django_workflow.core.telling import Saying, Speaking
from django_workflow.core.types import T

PayloadT = TypeVar("PayloadT")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
Item = TypeVar("Item")

AsyncBranch: TypeAlias = Callable[[], Awaitable[T]] | Awaitable[T]


class Triggers:
    """Counts the runs that a body triggers, so that a body that is repeated finds them again."""

    def __init__(self, seed: str) -> None:
        #: The same over attempts of the step, and of no other step.
        self.seed = seed
        self._counts: Counter[str] = Counter()
        self._lock = Lock()

    def next_of(self, workflow: str) -> int:
        """Return the number of the next run of this workflow, counted from 1."""
        with self._lock:
            self._counts[workflow] += 1
            return self._counts[workflow]


@dataclass(frozen=True, kw_only=True, slots=True)
class CurrentStep(Speaking):
    """What a step body may know of itself."""

    name: str
    attempt: int
    #: The same over attempts, deaths and resumes; another after restart. Hand it to APIs that take one.
    idempotency_key: str
    workflow_run_id: str
    deadline: datetime | None = None
    #: What takes down what the body says.
    hear: Callable[[Saying], None] | None = field(default=None, repr=False, compare=False)

    def _tell(self, saying: Saying) -> None:
        if self.hear is not None:
            self.hear(saying)

    #: Which of the items of ``ctx.map`` this is, counted from 0; None in a step of another kind.
    index: int | None = None
    triggers: Triggers = field(default_factory=lambda: Triggers(""), repr=False, compare=False)


executing: ContextVar[CurrentStep | None] = ContextVar("django_workflow_step", default=None)


def current_step() -> CurrentStep:
    """Return the step whose body is being executed.

    Raises:
        MisplacedStepError: called outside a step's body.
    """
    step = executing.get()
    if step is None:
        raise MisplacedStepError(
            "current_step() was called outside a step's body. Call it in a function that ctx.run executes.",
            step="",
        )
    return step


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFacts:
    """What a context tells of its run. The same in every pass."""

    workflow_run_id: str
    workflow_run_created_at: datetime
    request_payload: Any
    headers: Mapping[str, str] = field(default_factory=dict)
    #: The URL, or what finds it: looking through a urlconf is no matter of every pass.
    url: str | Callable[[], str] = ""
    labels: tuple[str, ...] = ()
    version: str = "1"
    schedule_id: str | None = None
    scheduled_for: datetime | None = None
    #: How often the run has continued as new.
    generation: int = 0


class Pass(Protocol):
    """What a context needs of the pass it belongs to."""

    facts: RunFacts

    @property
    def retried(self) -> int:
        """How often in a row the code between steps has failed."""

    def meet(
        self, kind: type[Step], name: str, options: StepOptions, fields: tuple[Any, ...]
    ) -> Any:
        """Return the step's value (a coroutine in an async pass), or end the pass there."""

    def parallel(self, branches: tuple[Any, ...], return_errors: bool) -> Any:
        """Run branches of which each is a sequence of steps of its own."""

    def race(self, branches: tuple[Any, ...], losers: str) -> Any:
        """Run branches until the first of them has ended."""

    def patched(self, patch_id: str) -> bool:
        """Tell whether this run goes through the code behind ``patch_id``."""

    def now(self) -> datetime:
        """Return the time of what was last handed to the branch."""

    def uuid(self) -> UUID:
        """Return a UUID that is the same at replay."""

    def random(self) -> Random:
        """Return a generator that draws the same at replay."""

    def cancel(self) -> NoReturn:
        """End the run as cancelled."""

    def continue_as_new(self, payload: Any) -> NoReturn:
        """End this generation of the run, and begin the next one with another payload."""

    def tell(self, saying: Saying) -> None:
        """Take down what is said between steps."""


class BaseContext(Speaking, Generic[PayloadT]):
    """What both contexts share."""

    def __init__(self, of: Pass, options: StepOptions = NO_OPTIONS) -> None:
        self._pass = of
        self._options = options

    @property
    def request_payload(self) -> PayloadT:
        """The payload of the trigger, decoded; None without one."""
        payload: PayloadT = self._pass.facts.request_payload
        return payload

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the trigger."""
        return self._pass.facts.headers

    @property
    def url(self) -> str:
        """The URL to which the deliveries of this run go; empty where none is known."""
        url = self._pass.facts.url
        return url if isinstance(url, str) else url()

    @property
    def workflow_run_id(self) -> str:
        """The id of this run."""
        return self._pass.facts.workflow_run_id

    @property
    def workflow_run_created_at(self) -> datetime:
        """When the run was triggered."""
        return self._pass.facts.workflow_run_created_at

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the trigger, sorted."""
        return self._pass.facts.labels

    @property
    def version(self) -> str:
        """The version of the workflow that this run follows."""
        return self._pass.facts.version

    @property
    def schedule_id(self) -> str | None:
        """The schedule that started this run; None without one."""
        return self._pass.facts.schedule_id

    @property
    def scheduled_for(self) -> datetime | None:
        """The slot that this run was started for, in UTC; None without a schedule."""
        return self._pass.facts.scheduled_for

    @property
    def generation(self) -> int:
        """How often the run has continued as new: 0 at first."""
        return self._pass.facts.generation

    @property
    def retried(self) -> int:
        """How often in a row the code between steps has failed before this pass."""
        return self._pass.retried

    def patched(self, patch_id: str) -> bool:
        """Tell whether this run goes through the changed code behind ``patch_id``.

        True for runs that come here for the first time, and from then on for those; False for runs that
        had gone beyond this point when the code was changed. Recorded with the next write.
        """
        return self._pass.patched(patch_id)

    def _tell(self, saying: Saying) -> None:
        self._pass.tell(saying)
