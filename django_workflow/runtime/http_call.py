"""One outbound request, as a careful client makes it.

What it keeps: (1) a name is looked up once, and the connection goes to the address that was checked, at every hop of a
redirect; (2) what is private is refused unless ``WORKFLOW["CALL_ALLOW"]`` opens it; (3) nothing secret goes along to
another origin; (4) nothing comes from the environment or from an earlier request: no proxy, no password, no cookie,
no connection; (5) what comes back is bounded in bytes, also unpacked, and in time, all hops together.
"""

from __future__ import annotations

import asyncio
import errno
import zlib
from datetime import timedelta
from ipaddress import ip_network
from types import TracebackType
from typing import Final, Self

import httpx
from ssrfguard import BlockedAddressError, BlockedURLError, Policy, SSRFGuardError
from ssrfguard.httpx import AsyncSafeTransport

from django_workflow.conf import allowed_of, settings
from django_workflow.core.calls import CallRequest, check_url, is_secret, masked_url
from django_workflow.core.durations import format_duration
from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.runtime.calling import Answer, LocalTroubleError, NoAnswerError

MOST_REDIRECTS: Final = 5
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
#: Lookups are made in threads; more at once wait.
LOOKUPS: Final = 32
EVERYWHERE: Final = (ip_network("0.0.0.0/0"), ip_network("::/0"))
PORTS: Final = frozenset(range(1, 65_536))
PACKED: Final = frozenset({"gzip", "x-gzip", "deflate"})


def policies() -> tuple[Policy, Policy | None]:
    """Return what any call may reach, and what those to hosts that are opened by name may; None without such.

    Raises:
        ValueError: ``WORKFLOW["CALL_ALLOW"]`` cannot work.
    """
    networks, hosts = allowed_of(settings().CALL_ALLOW)
    has_proxy = settings().CALL_PROXY is not None
    usual = Policy(allowed_networks=networks, allowed_ports=PORTS, allow_proxy=has_proxy)
    if not hosts:
        return usual, None
    by_name = Policy(
        allowed_networks=EVERYWHERE,
        allowed_ports=PORTS,
        allowed_hosts=frozenset(hosts),
        allow_proxy=has_proxy,
    )
    return usual, by_name


def problem() -> str | None:
    """Return why ``WORKFLOW["CALL_ALLOW"]`` cannot work, or None."""
    try:
        policies()
    except ValueError as error:
        return str(error)
    return None


def opens_metadata() -> bool:
    """Tell whether calls may reach the address at which clouds give their machines' passwords away."""
    return policies()[0].permits_address("169.254.169.254")


class HttpCaller:
    """Makes requests; belongs to one event loop."""

    def __init__(self) -> None:
        """Read the settings.

        Raises:
            ValueError: ``WORKFLOW["CALL_ALLOW"]`` cannot work.
        """
        usual, self._named = policies()
        # Certificates that the environment names count; proxies that it names do not.
        self._tls = httpx.create_ssl_context()
        self._usual_transport = self._transport(usual)
        self._named_transport = None if self._named is None else self._transport(self._named)

    def _transport(self, policy: Policy) -> AsyncSafeTransport:
        # No connection is used twice: one that the other side closes at that moment would be a request without an
        # answer, and nobody could tell whether it had been read.
        return AsyncSafeTransport(
            policy=policy,
            verify=self._tls,
            proxy=settings().CALL_PROXY,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
            resolver_slots=LOOKUPS,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._usual_transport.aclose()
        if self._named_transport is not None:
            await self._named_transport.aclose()

    async def ask(self, request: CallRequest, timeout: timedelta) -> Answer:
        """Make the request and return the answer.

        Raises:
            NoAnswerError: there was none.
            LocalTroubleError: it could not be made here and now.
        """
        shown = f"{request.method} {masked_url(request.url)}"
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                return await self._follow(request, shown, timeout)
        except (TimeoutError, httpx.TimeoutException) as error:
            message = f"{shown} was not answered within {format_duration(timeout)}."
            raise NoAnswerError(message, timed_out=True) from error
        except (SSRFGuardError, InvalidOptionError, httpx.InvalidURL) as error:
            raise NoAnswerError(_refusal(shown, error), is_final=True) from error
        except (httpx.HTTPError, OSError, UnicodeError) as error:
            if _is_out_of_files(error):
                raise LocalTroubleError(
                    'This process has too many files open for another call. Raise its limit, or lower WORKFLOW["CALLS_AT_ONCE"].'
                ) from error
            what = str(error) or type(error).__name__
            raise NoAnswerError(f"{shown} was not answered: {what}.") from error

    async def _follow(self, request: CallRequest, shown: str, timeout: timedelta) -> Answer:
        for _ in range(MOST_REDIRECTS + 1):
            answer, location = await self._hop(request, shown, timeout)
            if location is None:
                return answer
            request = redirected(request, answer.status, location)
        raise NoAnswerError(
            f"{shown} was redirected more than {MOST_REDIRECTS} times.", is_final=True
        )

    async def _hop(
        self, request: CallRequest, shown: str, timeout: timedelta
    ) -> tuple[Answer, str | None]:
        sent = _as_sent(request, timeout)
        response = await self._transport_to(sent.url.host).handle_async_request(sent)
        try:
            location = response.headers.get("location")
            is_redirect = response.status_code in REDIRECTS and location is not None
            content = b"" if is_redirect else await _read(response, shown)
        finally:
            await response.aclose()
        headers = tuple(
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in response.headers.raw
        )
        return Answer(response.status_code, headers, content), location if is_redirect else None

    def _transport_to(self, host: str) -> AsyncSafeTransport:
        if self._named is not None and self._named_transport is not None:
            try:
                self._named.check_host(host.lower())
            except BlockedURLError:
                pass
            else:
                return self._named_transport
        return self._usual_transport


def _is_out_of_files(error: Exception) -> bool:
    # By its text: the connection pool drops the cause of what it raises.
    return any(f"[Errno {number}]" in str(error) for number in (errno.EMFILE, errno.ENFILE))


def _as_sent(request: CallRequest, timeout: timedelta) -> httpx.Request:
    given = {name.lower() for name, _ in request.headers}
    usual = (("Accept", "*/*"), ("Accept-Encoding", "gzip"), ("User-Agent", "django_workflow"))
    headers = [
        *request.headers,
        *((name, value) for name, value in usual if name.lower() not in given),
        ("Connection", "close"),
    ]
    seconds = timeout.total_seconds()
    return httpx.Request(
        request.method,
        request.url.partition("#")[0],
        headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        content=request.body or None,
        extensions={"timeout": dict.fromkeys(("connect", "read", "write", "pool"), seconds)},
    )


def redirected(request: CallRequest, status: int, location: str) -> CallRequest:
    """Return the request that a redirect asks for; to another origin without anything secret.

    Raises:
        InvalidOptionError: it leads to what is no http or https URL.
    """
    before = httpx.URL(request.url)
    after = before.join(location)
    url = check_url(str(after))
    headers, method, body = request.headers, request.method, request.body
    if (before.scheme, before.host, before.port) != (after.scheme, after.host, after.port):
        headers = tuple((name, value) for name, value in headers if not is_secret(name))
    becomes_get = (status == 303 and method != "HEAD") or (
        status in {301, 302} and method == "POST"
    )
    if becomes_get:
        method, body = "GET", b""
        headers = tuple(pair for pair in headers if not pair[0].lower().startswith("content-"))
    return CallRequest(method=method, url=url, headers=headers, body=body)


async def _read(response: httpx.Response, shown: str) -> bytes:
    limit = settings().CALL_MAX_BYTES
    announced = response.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > limit:
        raise _too_large(shown, limit)
    unpack = None
    if response.headers.get("content-encoding", "").strip().lower() in PACKED:
        unpack = zlib.decompressobj(wbits=47)
    content = bytearray()
    async for chunk in response.aiter_raw():
        # A few bytes may unpack to a great many.
        try:
            content += chunk if unpack is None else unpack.decompress(chunk, limit + 1)
        except zlib.error as error:
            raise NoAnswerError(f"{shown} was answered with what does not unpack.") from error
        if len(content) > limit:
            raise _too_large(shown, limit)
    return bytes(content)


def _too_large(shown: str, limit: int) -> NoAnswerError:
    return NoAnswerError(
        f"{shown} was answered with more than {limit:,} bytes. Ask for less, or raise "
        'WORKFLOW["CALL_MAX_BYTES"].',
        is_final=True,
    )


def _refusal(shown: str, error: Exception) -> str:
    if isinstance(error, BlockedAddressError):
        reason = f"it leads to {error.address}, and {error.reason}"
    elif isinstance(error, BlockedURLError):
        reason = error.reason
    else:
        reason = str(error).rstrip(".")
    return (
        f'{shown} was refused: {reason}. WORKFLOW["CALL_ALLOW"] opens networks and hosts that calls may reach '
        "although they are private."
    )
