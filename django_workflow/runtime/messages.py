"""What a worker and a workflow's own view say to each other: a signed delivery, and its signed answer.

A delivery's body holds ids and nothing else. Its signature names the delivery, the fencing token, and the number of
the request under that token; the database is asked about all three before user code runs.
Both are bound to the workflow's name, not to a URL: proxies and prefixes change what path arrives, while the name
is what every such path stands for, and a message for one workflow is still worth nothing at another's URL.
An answer carries an authentication code over the outcome and the request that it answers: an error page, a login page
or an earlier answer kept by a proxy is never taken for it. What is coded begins with a line, which no signature's text
has, so neither passes for the other.
"""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from dataclasses import dataclass
from enum import StrEnum
from json import JSONDecoder, JSONEncoder
from typing import Any, Final

from django_workflow.core.exceptions import SignatureError
from django_workflow.runtime.keys import signer
from django_workflow.store.rows import Claim

SIGNATURE_HEADER: Final = "Workflow-Signature"
OUTCOME_HEADER: Final = "Workflow-Outcome"
#: More than any delivery has; what is longer is not read.
MAX_DELIVERY_BYTES: Final = 4096
#: Proxies are given headers of 4 KB at most, and a reason takes up to six bytes a character.
MAX_REASON_LENGTH: Final = 400

_encode = JSONEncoder(separators=(",", ":")).encode
_decode = JSONDecoder().decode


class Outcome(StrEnum):
    """What became of one request."""

    #: The claim still holds, and there is more to do at once.
    AGAIN = "again"
    #: The claim has ended.
    OVER = "over"
    #: The delivery did not get through; the reason says why.
    TROUBLE = "trouble"
    #: The claim is not the current one, or this request of it was made before. Nothing was done.
    STALE = "stale"


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The view's answer to a delivery."""

    outcome: Outcome
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ticket:
    """One request of a claim, as its signature names it."""

    run_id: str
    delivery_id: int
    token: int
    entry: int

    @classmethod
    def of(cls, claim: Claim) -> Ticket:
        """Return the ticket for the next request of a claim."""
        return cls(
            run_id=claim.run_id,
            delivery_id=claim.delivery_id,
            token=claim.token,
            entry=claim.entry,
        )

    def _claims(self) -> dict[str, Any]:
        return {"delivery": self.delivery_id, "token": self.token, "entry": self.entry}

    def body(self) -> bytes:
        """Return the body of the delivery."""
        return _encode({"workflow_run_id": self.run_id, "delivery": self.delivery_id}).encode()

    def sign(self, workflow: str, body: bytes) -> str:
        """Return the signature of the delivery of this body."""
        return signer().sign(subject=f"delivery:{workflow}", body=body, claims=self._claims())

    def sign_answer(self, workflow: str, answer: Answer) -> str:
        """Return the outcome of this delivery, with what proves it: ``outcome code reason``."""
        reason = answer.reason[:MAX_REASON_LENGTH]
        code = signer().code(self._said(workflow, answer.outcome, reason))
        spelled = urlsafe_b64encode(reason.encode()).decode()
        return f"{answer.outcome} {code} {spelled}".rstrip()

    def read_answer(self, workflow: str, signed: str) -> Answer:
        """Return the answer, if it is one to this very request.

        Raises:
            SignatureError: it is not; the text tells why.
        """
        outcome, _, rest = signed.partition(" ")
        code, _, spelled = rest.partition(" ")
        try:
            answer = Answer(
                outcome=Outcome(outcome),
                reason=b64decode(spelled.encode(), b"-_", validate=True).decode(),
            )
        except ValueError:
            raise SignatureError("It names no outcome that is known here.") from None
        if not signer().proves(code, self._said(workflow, answer.outcome, answer.reason)):
            raise SignatureError(
                "It is the answer to another delivery, or proved with an unknown key."
            )
        return answer

    def _said(self, workflow: str, outcome: Outcome, reason: str) -> bytes:
        # Free text comes last, and a name holds no line break: no two answers are spelled alike.
        numbers = f"{self.delivery_id}\n{self.token}\n{self.entry}"
        return f"outcome\n{workflow}\n{self.run_id}\n{numbers}\n{outcome}\n{reason}".encode()


def read_delivery(workflow: str, signature: str, body: bytes) -> Ticket:
    """Return what a genuine delivery for this workflow asks for. Asks no database.

    Raises:
        SignatureError: the message is not to be trusted; the text tells the operator why.
    """
    claims = signer().verify(signature, subject=f"delivery:{workflow}", body=body)
    numbers = [claims.get(name) for name in ("delivery", "token", "entry")]
    try:
        run_id = _decode(body.decode())["workflow_run_id"]
    except (ValueError, TypeError, KeyError):
        run_id = None
    if not isinstance(run_id, str) or not all(type(number) is int for number in numbers):
        raise SignatureError("The message is genuine, but no delivery.")
    delivery_id, token, entry = (int(number or 0) for number in numbers)
    return Ticket(run_id=run_id, delivery_id=delivery_id, token=token, entry=entry)
