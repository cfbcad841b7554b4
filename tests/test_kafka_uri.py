"""What a Kafka URI may say, and the reasons dug out of the client's log; no broker needed."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihomer.connectors.kafka_client import _LogTap, explain, missing_topic
from ihomer.connectors.kafka_settings import (
    ALL_PARAMETERS,
    SINK_PARAMETERS,
    SOURCE_PARAMETERS,
    KafkaSettings,
    parse_uri,
)
from ihomer.errors import UsageError
from tools import broker

HERE = KafkaSettings(("localhost:9092",), "events")
SASL = dataclasses.replace(HERE, security_protocol="SASL_SSL", sasl_mechanism="PLAIN")


def test_defaults() -> None:
    settings = parse_uri("kafka://localhost/events")
    assert settings == KafkaSettings(("localhost:9092",), "events")
    assert settings.group == "ihomer"
    assert settings.session_timeout_ms == 10_000
    assert settings.address == "localhost:9092"


def test_everything_at_once() -> None:
    settings = parse_uri(
        "kafka://a.example:1,[2001:db8::1]:65535,10.0.0.1/my.topic_1-x?group=a%20group"
        "&client_id=me&session_timeout_ms=6000&compression=gzip"
        "&security_protocol=SASL_SSL&sasl_mechanism=SCRAM-SHA-512"
    )
    assert settings.bootstrap == ("a.example:1", "[2001:db8::1]:65535", "10.0.0.1:9092")
    assert settings.topic == "my.topic_1-x"
    assert settings.group == "a group"
    assert settings.client_id == "me"
    assert settings.session_timeout_ms == 6000
    assert settings.heartbeat_ms * 3 <= 6000
    assert settings.compression == "gzip"
    assert settings.sasl_mechanism == "SCRAM-SHA-512"


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("file:events", "no Kafka URI"),
        ("kafka:events", "no Kafka URI"),
        ("kafka:///events", "host ''"),
        ("kafka://localhost", "topic is missing"),
        ("kafka://localhost/", "topic is missing"),
        ("kafka://localhost/a/b", "topic 'a/b'"),
        ("kafka://localhost/..", r"topic '\.\.'"),
        ("kafka://localhost/a%20b", "topic 'a b'"),
        ("kafka://localhost/" + "a" * 250, "249 letters"),
        ("kafka://localhost:0/events", "port '0'"),
        ("kafka://localhost:65536/events", "port '65536'"),
        ("kafka://localhost:x/events", "port 'x'"),
        ("kafka://localhost:/events", "port ''"),
        ("kafka://a,,b/events", "host ''"),
        ("kafka://::1:9092/events", "host '::1:9092'"),
        ("kafka://[::1/events", "IPv6"),
        ("kafka://localhost/events?topics=x", "unknown parameter 'topics', accepted: group, "),
        ("kafka://localhost/events?group=a&group=b", "group is given twice"),
        ("kafka://localhost/events?group=", "group has no value"),
        ("kafka://localhost/events#x", "no fragment"),
        ("kafka://localhost/events?session_timeout_ms=10s", "1000 to 1800000"),
        ("kafka://localhost/events?session_timeout_ms=999", "1000 to 1800000"),
        ("kafka://localhost/events?compression=best", "none, gzip, snappy, lz4, zstd"),
        ("kafka://localhost/events?security_protocol=TLS", "PLAINTEXT, SSL, SASL_PLAINTEXT"),
        ("kafka://localhost/events?security_protocol=SASL_SSL", "needs sasl_mechanism"),
        ("kafka://localhost/events?sasl_mechanism=PLAIN", "does not go with sasl_mechanism"),
        (
            "kafka://localhost/events?security_protocol=SASL_SSL&sasl_mechanism=GSSAPI",
            "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512",
        ),
        ("kafka://localhost/events?ssl_cafile=/etc/x", "goes with security_protocol=SSL"),
        (
            "kafka://localhost/events?security_protocol=SSL&ssl_cafile=/no/such/file",
            "ssl_cafile='/no/such/file' cannot be used: .*No such file",
        ),
    ],
)
def test_refused(uri: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        parse_uri(uri)
    assert "\n" not in str(caught.value)


def test_a_file_that_holds_no_certificate(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing of the kind")
    with pytest.raises(UsageError, match=r"ca\.pem' cannot be used"):
        parse_uri(
            f"kafka://localhost/events?security_protocol=SSL&ssl_cafile={tmp_path / 'ca.pem'}"
        )


def test_a_parameter_of_the_other_side_is_unknown() -> None:
    with pytest.raises(UsageError, match=r"unknown parameter 'compression', accepted: group, "):
        parse_uri("kafka://localhost/events?compression=gzip", SOURCE_PARAMETERS)
    with pytest.raises(UsageError, match=r"unknown parameter 'group', accepted: compression, "):
        parse_uri("kafka://localhost/events?group=a", SINK_PARAMETERS)


@pytest.mark.parametrize(
    "uri",
    [
        "kafka://me:hunter2@localhost/events",
        "kafka://hunter2@localhost/events",
        "kafka://a,me:hunter2@localhost/events",
        "kafka://me:hunter2/and@localhost/events",
        "kafka://me:hunter2#and@localhost/events",
        "kafka://me:hunter2?and@localhost/events",
        "kafka://me:and?hunter2@localhost/events",
        "kafka://localhost/events?password=hunter2",
        "kafka://localhost/events?sasl_plain_password=hunter2",
        "kafka://localhost/events?ssl_passwd=hunter2",
        "kafka://localhost/events?username=hunter2",
        "kafka://localhost/events?group=a&token=hunter2&more=1",
        "http://me:hunter2@localhost/events",
    ],
)
def test_credentials_are_refused_and_never_repeated(uri: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_uri(uri)
    assert "hunter2" not in str(caught.value)
    if uri.startswith("kafka"):
        assert "IHOMER_KAFKA_PASSWORD" in str(caught.value)


def test_credentials_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IHOMER_KAFKA_USERNAME", "me")
    monkeypatch.delenv("IHOMER_KAFKA_PASSWORD", raising=False)
    assert "sasl_plain_username" not in HERE.client_options()
    with pytest.raises(UsageError, match="set IHOMER_KAFKA_PASSWORD in the environment"):
        SASL.client_options()
    monkeypatch.setenv("IHOMER_KAFKA_PASSWORD", "hunter2")
    options = SASL.client_options()
    assert options["sasl_plain_username"] == "me"
    assert options["sasl_plain_password"] == "hunter2"  # noqa: S105 - nobody's
    assert "hunter2" not in repr(SASL)


def test_credentials_come_from_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("IHOMER_KAFKA_PASSWORD", raising=False)
    monkeypatch.setenv("IHOMER_KAFKA_USERNAME", "me")
    monkeypatch.setenv("IHOMER_KAFKA_PASSWORD_FILE", str(tmp_path / "password"))
    with pytest.raises(UsageError, match=r"IHOMER_KAFKA_PASSWORD_FILE: .*password: No such file"):
        SASL.client_options()
    for found in (b"", b"\n", b"two\nlines\n", b"\xff\xfe", b"x" * 5000):
        (tmp_path / "password").write_bytes(found)
        with pytest.raises(UsageError, match="found no credential, accepted: one line") as caught:
            SASL.client_options()
        assert "lines" not in str(caught.value)
    (tmp_path / "password").write_bytes("blank s and ä\r\n".encode())
    assert SASL.client_options()["sasl_plain_password"] == "blank s and ä"  # noqa: S105
    monkeypatch.setenv("IHOMER_KAFKA_PASSWORD", "hunter2")
    assert SASL.client_options()["sasl_plain_password"] == "hunter2"  # noqa: S105


_labels = st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True)
_hosts = st.one_of(
    st.lists(_labels, min_size=1, max_size=3).map(".".join),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
)
_addresses = st.tuples(_hosts, st.integers(1, 65535)).map(lambda pair: f"{pair[0]}:{pair[1]}")
_topics = st.from_regex(r"[A-Za-z0-9._-]{1,20}", fullmatch=True).filter(
    lambda topic: topic not in {".", ".."}
)


@given(st.lists(_addresses, min_size=1, max_size=4), _topics, _labels)
def test_what_is_put_together_is_read_back(hosts: list[str], topic: str, group: str) -> None:
    settings = parse_uri(f"kafka://{','.join(hosts)}/{topic}?group={group}")
    assert list(settings.bootstrap) == hosts
    assert settings.topic == topic
    assert settings.group == group


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    said: str | None = None
    try:
        settings = parse_uri("kafka://" + text)
    except UsageError as error:
        said = str(error)
    if said is None:
        assert settings.topic
        assert all(host.rpartition(":")[2].isdigit() for host in settings.bootstrap)
    else:
        assert said.isprintable()
        assert len(said) < 600


@given(st.sampled_from(ALL_PARAMETERS), st.text(min_size=1, max_size=5))
def test_a_parameter_is_accepted_only_under_its_own_name(name: str, extra: str) -> None:
    if name + extra not in ALL_PARAMETERS and extra.isalnum() and extra.isascii():
        with pytest.raises(UsageError):
            parse_uri(f"kafka://localhost/events?{name}{extra}=1")


@pytest.mark.parametrize(
    ("line", "settings", "said"),
    [
        (
            "DNS lookup failed for b.example:9092, gaierror(-2, 'Name or service not known')",
            HERE,
            "the name b.example cannot be resolved",
        ),
        ("Connection failed: KafkaConnectionError: 111 ECONNREFUSED", HERE, "connection refused"),
        (
            "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: IP is wrong (_ssl.c:1006)",
            SASL,
            "its certificate is not accepted: IP is wrong (ssl_cafile",
        ),
        ("Handshake failed: [SSL: WRONG_VERSION_NUMBER] wrong", SASL, "no TLS handshake there"),
        ("[Error 33] UnsupportedSaslMechanismError", SASL, "does not offer sasl_mechanism=PLAIN"),
        ("[Error 58] SaslAuthenticationFailedError", SASL, "authentication failed"),
        ("socket disconnected", SASL, "during authentication"),
        ("socket disconnected", HERE, "another security_protocol than PLAINTEXT"),
        ("Connection timed out", HERE, "no answer"),
        ("something new", HERE, "something new"),
    ],
)
def test_reasons(line: str, settings: KafkaSettings, said: str) -> None:
    noise = "Bootstrap bootstrap-0 not ready; waiting 0.11 secs"
    # What the client raises in the end is the same, whatever the reason.
    end = "KafkaTimeoutError: Unable to bootstrap from localhost:9092"
    known = line != "something new"
    assert said in explain([noise, line, noise, end] if known else [noise, line], settings)


def test_the_log_is_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("kafka")
    handlers, level = list(logger.handlers), logger.level
    logger.setLevel(logging.ERROR)
    try:
        with _LogTap() as tap:
            logging.getLogger("kafka.net.manager").warning("the %s", "reason")
        assert tap.lines == ["the reason"]
        assert "the reason" not in caplog.text
        logging.getLogger("kafka.net.manager").error("later")
        assert tap.lines == ["the reason"]
        assert "later" in caplog.text
        assert logger.handlers == handlers
        assert logger.level == logging.ERROR
    finally:
        logger.setLevel(level)


def test_at_most_ten_topics_are_listed() -> None:
    names = [f"t{i:02}" for i in range(13)]
    line = missing_topic(HERE, names)
    assert line.startswith("kafka://localhost:9092/events: no topic 'events'; there is t00, ")
    assert line.endswith("t09 and 3 more")
    assert missing_topic(HERE, names[:1]).endswith("there is t00")
    assert "none" in missing_topic(HERE, [])


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def clear() -> None:
        broker._java.cache_clear()

    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    clear()
    return clear


def test_what_the_broker_needs_is_told(
    no_java: Callable[[], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reason = broker.reason_unavailable()
    assert reason is not None
    assert "install Java 17 or newer" in reason
    java = tmp_path / "java"
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("IHOMER_KAFKA_JARS", str(tmp_path / "jars"))
    for version, accepted in (("1.8.0_202", False), ("11.0.2", False), ("21", True)):
        java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
        java.chmod(0o755)
        no_java()
        reason = broker.reason_unavailable()
        assert reason is not None
        assert ("install Java" not in reason) == accepted, reason
    assert "Maven" in reason
    with pytest.raises(broker.BrokerError, match="Maven"):
        broker.ensure_jars()
    (tmp_path / "jars").mkdir()
    (tmp_path / "jars" / broker.KAFKA_JAR).touch()
    assert broker.reason_unavailable() is None
    assert broker.ensure_jars() == tmp_path / "jars"
    no_java()


def test_a_download_that_fails_leaves_nothing(
    no_java: Callable[[], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, script in (
        ("java", "echo 'openjdk version \"17.0.1\"' >&2"),
        ("mvn", "echo no network; exit 1"),
    ):
        (commands / name).write_text(f"#!/bin/sh\n{script}\n")
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(commands))
    monkeypatch.setenv("IHOMER_KAFKA_JARS", str(tmp_path / "cache" / "jars"))
    no_java()
    with pytest.raises(broker.BrokerError, match="no network"):
        broker.ensure_jars()
    assert list((tmp_path / "cache").iterdir()) == []
    no_java()
