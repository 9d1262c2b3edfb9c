"""The door of webhooks: who gets in, what is answered, and what is kept."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, override_settings

from django_workflow import InvalidOptionError, WorkflowContext, webhook_verifiers, workflow
from django_workflow.core.plain import plain
from django_workflow.core.webhooks import Webhook
from django_workflow.models import Event, Run
from django_workflow.testing import WorkflowSandbox
from tests.transports.wsgi import served_at

pytestmark = pytest.mark.django_db

SECRET = "whsec"
OPTIONS: dict[str, Any] = {}


@workflow(name="webhook_door")
def hears(ctx: WorkflowContext[Any]) -> Any:
    hook = ctx.create_webhook("hook", **OPTIONS)
    call = ctx.wait_for_webhook("call", hook, timeout="30d")
    return None if call.request is None else [call.request.method, call.request.body]


@workflow(name="webhook_door_foreign")
def hears_another(ctx: WorkflowContext[Any]) -> Any:
    ctx.wait_for_webhook("call", Webhook.from_record(ctx.request_payload))


@pytest.fixture
def box() -> Iterator[WorkflowSandbox]:
    with served_at("http://testserver"), WorkflowSandbox() as box:
        yield box
    OPTIONS.clear()


def started(**options: Any) -> tuple[Run, str]:
    OPTIONS.update(options)
    run: Run = hears.trigger()
    url = run.steps.get(name="hook").result["webhook_url"]
    return run, url.removeprefix("http://testserver")


def post(path: str, data: Any = None, **headers: str) -> HttpResponse:
    return Client().post(path, data or {}, content_type="application/json", headers=headers)


def is_right(request: HttpRequest) -> bool:
    return request.headers.get("X-Word") == "please"


async def is_right_async(request: HttpRequest) -> bool:
    return request.headers.get("X-Word") == "please"


def challenged(request: HttpRequest) -> Any:
    return HttpResponse(request.GET["challenge"]) if request.method == "GET" else True


def broken(request: HttpRequest) -> bool:
    raise ValueError("no")


def echoing(request: HttpRequest) -> Any:
    return {"you said": json.loads(request.body)}


def test_unknown_token_tells_nothing(box: WorkflowSandbox) -> None:
    _, path = started()

    answer = post(path[:-3] + "xy/")

    assert (answer.status_code, json.loads(answer.content)) == (
        404,
        {"detail": "There is no such webhook."},
    )
    assert not Event.objects.exists()


def test_call_reaches_its_own_run_alone(box: WorkflowSandbox) -> None:
    one, path = started()
    other, _ = started()

    assert post(path, {"n": 1}).status_code == 200

    assert one.refresh().result == ["POST", {"n": 1}]
    assert box.waiting_on(other.refresh()) == ["call"]


def test_a_run_cannot_wait_for_the_webhook_of_another(box: WorkflowSandbox) -> None:
    one, _ = started()

    run = hears_another.trigger(one.steps.get(name="hook").result, retries=0)

    failure = run.refresh().failure
    assert failure.error_class.endswith("InvalidOptionError")
    assert f'belongs to run "{one.id}"' in failure.message


def test_every_method_is_a_call(box: WorkflowSandbox) -> None:
    run, path = started()

    assert Client().get(path).status_code == 200

    assert run.refresh().result == ["GET", ""]


def test_bytes_are_kept_as_base64(box: WorkflowSandbox) -> None:
    run, path = started()

    Client().post(path, b"\xff\x00\xfe", content_type="application/octet-stream")

    assert run.refresh().result == ["POST", base64.b64encode(b"\xff\x00\xfe").decode()]


def test_json_that_is_none_is_its_text(box: WorkflowSandbox) -> None:
    run, path = started()

    Client().post(path, b"{", content_type="application/json")

    assert run.refresh().result == ["POST", "{"]


def test_longer_body_than_allowed_is_refused(box: WorkflowSandbox) -> None:
    run, path = started(max_bytes=10)

    assert post(path, {"long": "x" * 20}).status_code == 413

    assert box.waiting_on(run.refresh()) == ["call"]


def test_single_use_takes_one_call(box: WorkflowSandbox) -> None:
    run, path = started(single_use=True)

    assert [post(path).status_code, post(path).status_code] == [200, 410]
    assert run.webhooks.get().calls == 1


def test_expired_takes_none(box: WorkflowSandbox) -> None:
    run, path = started(expires="1h")
    box.advance("1h")

    assert post(path).status_code == 410

    assert box.waiting_on(run.refresh()) == ["call"]


def test_run_that_has_ended_takes_none(box: WorkflowSandbox) -> None:
    run, path = started()
    run.cancel()

    assert post(path).status_code == 410
    assert not Event.objects.exists()


def test_call_of_a_failed_run_is_kept_for_its_resume(box: WorkflowSandbox) -> None:
    run, path = started()
    Run.objects.filter(pk=run.id).update(status="failed")

    assert post(path).status_code == 200
    run.resume()

    assert run.refresh().result == ["POST", {}]


def test_too_many_calls_in_a_minute_are_refused(box: WorkflowSandbox) -> None:
    with served_at("http://testserver", WEBHOOK_CALLS_PER_MINUTE=2):
        run: Run = hears.trigger()
        # What it waits for is not the point: calls are counted before they are matched.
        run.pause()
        path = run.steps.get(name="hook").result["webhook_url"].removeprefix("http://testserver")

        first = [post(path).status_code for _ in range(3)]
        box.advance("1m")
        again = post(path)

    assert (first, again.status_code) == ([200, 200, 429], 200)
    assert run.webhooks.get().calls == 3


@pytest.mark.parametrize("verifier", [is_right, is_right_async])
def test_verifier_decides_who_calls(box: WorkflowSandbox, verifier: Any) -> None:
    run, path = started(verifier=verifier)

    assert post(path).status_code == 401
    assert box.waiting_on(run.refresh()) == ["call"]
    assert post(path, **{"X-Word": "please"}).status_code == 200
    assert run.refresh().status == "completed"


def test_verifier_may_answer_a_challenge(box: WorkflowSandbox) -> None:
    run, path = started(verifier=challenged)

    answer = Client().get(f"{path}?challenge=42")

    assert (answer.status_code, answer.content) == (200, b"42")
    assert box.waiting_on(run.refresh()) == ["call"]


def test_verifier_that_raises_lets_nobody_in(
    box: WorkflowSandbox, caplog: pytest.LogCaptureFixture
) -> None:
    run, path = started(verifier=broken)

    assert post(path).status_code == 500

    assert box.waiting_on(run.refresh()) == ["call"]
    assert "The verifier of a webhook" in caplog.text


def test_answer_is_what_was_asked_for(box: WorkflowSandbox) -> None:
    _, fixed = started(response={"ok": 1})
    _, made = started(response=echoing)

    assert json.loads(post(fixed).content) == {"ok": 1}
    assert json.loads(post(made, {"a": 2}).content) == {"you said": {"a": 2}}


@override_settings(HOOK_SECRET=["other", SECRET])
def test_signature_of_a_provider_is_checked(box: WorkflowSandbox) -> None:
    run, path = started(verifier=webhook_verifiers.github("HOOK_SECRET"))
    body = b'{"zen": 1}'
    good = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()

    def sent(signature: str) -> int:
        headers = {"X-Hub-Signature-256": signature}
        answer = Client().post(path, body, content_type="application/json", headers=headers)
        return answer.status_code

    assert [sent(""), sent("sha256=é"), sent(good[:-1] + "x"), sent(good)] == [401, 401, 401, 200]
    assert run.refresh().result == ["POST", {"zen": 1}]


def test_missing_secret_is_named_at_the_verb(box: WorkflowSandbox) -> None:
    OPTIONS["verifier"] = webhook_verifiers.stripe("NO_SUCH_SECRET")

    run = hears.trigger()

    assert "The setting NO_SUCH_SECRET must hold the secret" in run.refresh().failure.message
    assert not run.webhooks.exists()


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"verifier": lambda request: True}, "no other process can import"),
        ({"verifier": "no.such.path"}, "cannot be imported"),
        ({"verifier": 7}, "must be a function"),
        ({"single_use": 1}, "True or False"),
        ({"max_bytes": 0}, "whole number"),
        ({"expires": 0}, "at once"),
        ({"expires": "-1d"}, "-1d"),
        ({"response": lambda request: 1}, "no other process can import"),
    ],
)
def test_what_cannot_work_is_refused_at_the_verb(
    box: WorkflowSandbox, options: dict[str, Any], part: str
) -> None:
    OPTIONS.update(options)

    run = hears.trigger(retries=0)

    assert part in run.refresh().failure.message


def test_answer_that_cannot_be_stored_fails_the_step(box: WorkflowSandbox) -> None:
    OPTIONS["response"] = {"ok": {1, 2}}

    run = hears.trigger()

    assert run.refresh().failure.step == "hook"
    assert not run.webhooks.exists()


def test_under_asgi_it_is_the_same(box: WorkflowSandbox) -> None:
    run, path = started()

    async def call() -> int:
        answer = await AsyncClient().post(path, "{}", content_type="application/json")
        return answer.status_code

    assert async_to_sync(call)() == 200
    assert run.refresh().result == ["POST", {}]


def test_no_login_and_no_csrf_token_are_asked_for(box: WorkflowSandbox) -> None:
    run, path = started()
    with override_settings(
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.auth.middleware.LoginRequiredMiddleware",
        ]
    ):
        answer = Client(enforce_csrf_checks=True).post(path, "{}", content_type="application/json")

    assert answer.status_code == 200
    assert run.refresh().status == "completed"


def test_secrets_in_headers_are_masked_in_windows(box: WorkflowSandbox) -> None:
    run, path = started()
    post(path, Authorization="Bearer abc", **{"X-Api-Key": "abc", "X-Plain": "seen"})

    text = run.steps.get(name="call").result_text
    shown = json.dumps(plain(text), ensure_ascii=False)

    assert "abc" in text
    assert "abc" not in shown
    assert '"X-Plain": "seen"' in shown
    # A window may show the beginning alone, which is no JSON any more.
    assert "abc" not in str(plain(text[:-3]))


def test_the_table_does_not_hold_the_token(box: WorkflowSandbox) -> None:
    run, path = started()
    token = path.rstrip("/").rpartition("/")[2]

    assert all(token not in str(value) for value in vars(run.webhooks.get()).values())


def test_verifier_names_a_setting_and_no_secret() -> None:
    with pytest.raises(InvalidOptionError, match="name of the setting"):
        webhook_verifiers.github("s3cr3t-value")
