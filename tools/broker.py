"""A real Apache Kafka broker on loopback, for `make kafka` and the integration tests.

In: Java 17 or newer and, for the first download, Maven. Out: a broker in KRaft mode on
127.0.0.1 with a fresh folder that is removed at the end. It is here because a mock broker shows
aborted records and fences nobody, so nothing that matters could be tested against one.
"""

from __future__ import annotations

import argparse
import atexit
import base64
import contextlib
import ctypes
import functools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import platformdirs
from kafka import KafkaAdminClient
from kafka.errors import KafkaError

KAFKA_VERSION = "4.1.1"
KAFKA_JAR = f"kafka_2.13-{KAFKA_VERSION}.jar"
JAVA_AT_LEAST = 17
START_SECONDS = 60.0
STOP_SECONDS = 15.0

_POM = Path(__file__).parent / "kafka" / "pom.xml"
_PR_SET_PDEATHSIG = 1

_LOGGING = """\
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = [%d] %p %m (%c)%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
"""


class BrokerError(Exception):
    """The broker cannot be had or does not start; the text says what to do or what it said."""


def jars_folder() -> Path:
    """Folder of the broker's jars: `IHOMER_KAFKA_JARS`, else in the platform's cache folder."""
    configured = os.environ.get("IHOMER_KAFKA_JARS")
    if configured:
        return Path(configured)
    return platformdirs.user_cache_path("ihomer") / f"kafka-{KAFKA_VERSION}"


@functools.cache
def _java() -> str:
    """Command of a Java that is new enough.

    Raises
    ------
    BrokerError
        There is none.
    """
    home = os.environ.get("JAVA_HOME")
    command = shutil.which("java", path=str(Path(home) / "bin")) if home else None
    command = command or shutil.which("java")
    wanted = f"install Java {JAVA_AT_LEAST} or newer (Debian, Ubuntu: openjdk-17-jre-headless)"
    if command is None:
        raise BrokerError(f"no java on the PATH; {wanted}")
    found = subprocess.run([command, "-version"], capture_output=True, text=True, check=False)
    version = re.search(r'version "(?:1\.)?(\d+)', found.stderr + found.stdout)
    if version is None:
        raise BrokerError(f"{command} -version does not say its version; {wanted}")
    if int(version[1]) < JAVA_AT_LEAST:
        raise BrokerError(f"{command} is Java {version[1]}; {wanted}")
    return command


def _have_jars() -> bool:
    return (jars_folder() / KAFKA_JAR).is_file()


def reason_unavailable() -> str | None:
    """What must be installed before a broker can be started, or None if it can."""
    try:
        _java()
    except BrokerError as error:
        return str(error)
    if not _have_jars() and shutil.which("mvn") is None:
        return (
            f"no {KAFKA_JAR} in {jars_folder()} and no mvn on the PATH to download it; install"
            " Maven (Debian, Ubuntu: maven), or set IHOMER_KAFKA_JARS to a folder that has the jars"
        )
    return None


def ensure_jars() -> Path:
    """Download the jars unless they are there (46 files, 43 MB), whole or not at all.

    Returns
    -------
    Path
        The folder that holds them.

    Raises
    ------
    BrokerError
        Something must be installed first, or Maven failed.
    """
    reason = reason_unavailable()
    if reason is not None:
        raise BrokerError(reason)
    folder = jars_folder()
    if _have_jars():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kafka-", dir=folder.parent) as temporary:
        jars = Path(temporary) / "jars"
        # The pom is copied because Maven may write beside it.
        pom = shutil.copy(_POM, temporary)
        command = ["mvn", "-q", "-B", "-f", pom, "dependency:copy-dependencies"]
        command += [f"-DoutputDirectory={jars}", "-DincludeScope=runtime"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0 or not (jars / KAFKA_JAR).is_file():
            said = (done.stdout + done.stderr).strip()
            raise BrokerError(f"Maven could not download Kafka {KAFKA_VERSION}: {said[-2000:]}")
        try:
            jars.rename(folder)
        except OSError as error:
            # Another process may have been faster: its folder is as good.
            if not _have_jars():
                raise BrokerError(f"{folder} cannot be made: {error}") from error
    return folder


def free_port() -> int:
    """A port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_is_taken(port: int) -> bool:
    """Whether something listens on `port` of 127.0.0.1."""
    with socket.socket() as probe:
        # Without it a port whose last connections are still in TIME_WAIT would look taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _cluster_id() -> str:
    """A random id in Kafka's writing: 22 characters of URL-safe base 64, no leading hyphen."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text


def _die_with_parent() -> None:
    """Ask Linux to kill this process, which is about to become the broker, with its parent."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Broker:
    """One Kafka broker, as a context manager.

    Parameters
    ----------
    port
        Port on 127.0.0.1; 0 = any free one.

    Attributes
    ----------
    bootstrap
        ``"127.0.0.1:PORT"``.
    properties
        The server's properties; may be changed before `start`.
    users
        Names and passwords for SCRAM-SHA-256, made with the storage; may be filled before `start`.
    """

    def __init__(self, port: int = 0) -> None:
        self.port = port or free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        controller = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="ihomer-kafka-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._formatted = False
        self.users: dict[str, str] = {}
        self.properties = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": str(self._folder / "data"),
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "auto.create.topics.enable": "false",
            # After a kill the controller waits out the old session; 9 s by default.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            "group.min.session.timeout.ms": "1000",
        }

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start, and return when the broker answers.

        Raises
        ------
        BrokerError
            Java, the jars or Maven are missing, the port is taken, or the broker gave up; the
            end of its log is in the text.
        """
        if self.running:
            return
        classpath = f"{ensure_jars()}{os.sep}*"
        if port_is_taken(self.port):
            raise BrokerError(f"port {self.port} of 127.0.0.1 is taken; choose another one")
        settings = self._write("server.properties", self.properties)
        logging = self._folder / "log4j2.properties"
        logging.write_text(_LOGGING)
        java = [_java(), "-Xmx512m", "-XX:+UseSerialGC", f"-Dlog4j2.configurationFile={logging}"]
        java += ["-cp", classpath]
        if not self._formatted:
            command = [*java, "kafka.tools.StorageTool", "format", "-t", _cluster_id()]
            command += ["-c", str(settings)]
            for name, password in self.users.items():
                command += ["--add-scram", f"SCRAM-SHA-256=[name={name},password={password}]"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise BrokerError(f"storage cannot be formatted: {done.stdout}{done.stderr}")
            self._formatted = True
        # Linux ties the signal to the thread that starts the process, not to the process: only
        # the main thread lives as long.
        tied = sys.platform == "linux" and threading.current_thread() is threading.main_thread()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*java, "kafka.Kafka", str(settings)],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=_die_with_parent if tied else None,  # noqa: PLW1509, RUF100 - see above
            )
        atexit.register(self.close)
        self._wait()

    def _write(self, name: str, properties: Mapping[str, str]) -> Path:
        path = self._folder / name
        path.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
        return path

    def _wait(self) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if not self.running:
                self._process = None
                raise BrokerError(f"the broker gave up while starting: {self.log_end()}")
            if port_is_taken(self.port):
                with contextlib.suppress(KafkaError), self.admin():
                    return
            time.sleep(0.1)
        said = self.log_end()
        self.kill()
        raise BrokerError(f"the broker did not answer within {START_SECONDS:.0f} s: {said}")

    @property
    def _log(self) -> Path:
        return self._folder / "broker.log"

    def log_end(self, characters: int = 2000) -> str:
        """The end of what the broker has logged."""
        if not self._log.exists():
            return ""
        return self._log.read_text(errors="replace")[-characters:]

    def admin(self) -> KafkaAdminClient:
        """A client for topics and offsets; the caller closes it."""
        return KafkaAdminClient(bootstrap_servers=self.bootstrap, bootstrap_timeout_ms=10_000)

    def create_topic(
        self, name: str, partitions: int = 1, configs: Mapping[str, str] | None = None
    ) -> None:
        """Create topic `name` and wait until its partitions have leaders."""
        options = {
            "num_partitions": partitions,
            "replication_factor": 1,
            "configs": dict(configs or {}),
        }
        with self.admin() as admin:
            admin.create_topics({name: options}, wait_for_metadata=True)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.running:
            os.killpg(self._process.pid, number)

    def stop(self) -> None:
        """Stop in order: SIGTERM, and SIGKILL if that takes too long."""
        self._signal(signal.SIGTERM)
        if self._process is not None:
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
        self._process = None

    def kill(self) -> None:
        """Take it down as a crash would: SIGKILL."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
        self._process = None

    def freeze(self) -> None:
        """Stop the process without ending it (SIGSTOP): it takes connections but never answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def restart(self) -> None:
        """Stop and start on the same folder and port."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Take it down and remove its folder; may be called twice."""
        # Its data is thrown away, so there is no reason to wait for an orderly end.
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
        atexit.unregister(self.close)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.broker",
        description="A Kafka broker on loopback until Ctrl-C; its data is removed at the end.",
    )
    parser.add_argument("--port", type=int, default=9092, help="0 = any free port (default 9092)")
    parser.add_argument(
        "--partitions", type=int, default=1, help="partitions of events and predictions (default 1)"
    )
    return parser.parse_args()


def main() -> int:
    """Run a broker in the foreground; the exit code is 0 after Ctrl-C or SIGTERM."""
    arguments = _arguments()
    if arguments.port and port_is_taken(arguments.port):
        print(
            f"port {arguments.port} of 127.0.0.1 is taken; stop what listens there, or choose"
            " another one with --port PORT (0 = any free one)",
            file=sys.stderr,
        )
        return 69
    # SIGTERM as Ctrl-C: the broker is stopped and its folder removed either way.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if reason_unavailable() is None and not _have_jars():
            print(f"Downloading Kafka {KAFKA_VERSION} to {jars_folder()} (43 MB, once)", flush=True)
        with Broker(arguments.port) as broker:
            for topic, partitions in (
                ("events", arguments.partitions),
                ("predictions", arguments.partitions),
                ("dead-letters", 1),
            ):
                broker.create_topic(topic, partitions)
            uri = f"kafka://{broker.bootstrap}"
            print(f"Kafka {KAFKA_VERSION} listens on {broker.bootstrap}")
            print("Topics: events, predictions, dead-letters. In another terminal:")
            print(
                f"  .venv/bin/ihomer run --source '{uri}/events' --sink '{uri}/predictions'"
                f" --dead-letters '{uri}/dead-letters'"
            )
            print("Ctrl-C stops it and removes its data.", flush=True)
            while broker.running:
                time.sleep(0.5)
            print(f"the broker ended by itself: {broker.log_end()}", file=sys.stderr)
            return 69
    except BrokerError as error:
        print(error, file=sys.stderr)
        return 69
    except KeyboardInterrupt:
        print("stopped")
        return 0


if __name__ == "__main__":
    sys.exit(main())
