"""TLS and SASL against a real broker, and the reasons that are told when they fail."""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from ihomer.connectors.base import Record
from ihomer.connectors.kafka import KafkaSink, KafkaSource, describe
from tools.broker import Broker, free_port
from tools.rig import BAD_EVERY, Daemon, events

pytestmark = [
    pytest.mark.integration,
    # kafka-python leaves the socket of a refused connection to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <ssl:ResourceWarning"),
]


USER, PASSWORD, WRONG = "alice", "won-der-land", "wrong-one"
SCRAM = "sasl_mechanism=SCRAM-SHA-256"


class Secure(NamedTuple):
    broker: Broker
    sasl: str
    tls: str
    elsewhere: str  # TLS too, with a certificate for another host
    folder: Path

    def query(self, authority: str = "cert", more: str = "") -> str:
        """Parameters for TLS and SCRAM, trusting the certificate called `authority`."""
        return f"security_protocol=SASL_SSL&{SCRAM}&ssl_cafile={self.folder}/{authority}.pem{more}"


@pytest.fixture(scope="module")
def secure(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """A broker with SASL with and without TLS; `broker` is asked for so that it skips alike."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    for name, host in (("cert", "IP:127.0.0.1"), ("away", "DNS:away.test"), ("other", "IP:::1")):
        _certificate(folder, name, host)
    sasl, tls, elsewhere = (f"127.0.0.1:{free_port()}" for _ in range(3))
    secured = Broker()
    secured.users[USER] = PASSWORD
    properties = secured.properties
    listeners = f",OPEN://{sasl},TLS://{tls},AWAY://{elsewhere}"
    properties["listeners"] += listeners
    properties["advertised.listeners"] += listeners
    properties["listener.security.protocol.map"] += (
        ",OPEN:SASL_PLAINTEXT,TLS:SASL_SSL,AWAY:SASL_SSL"
    )
    properties["sasl.enabled.mechanisms"] = "SCRAM-SHA-256"
    login = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    for name in ("open", "tls", "away"):
        properties[f"listener.name.{name}.scram-sha-256.sasl.jaas.config"] = login
    for listener, certificate in (("tls", "cert"), ("away", "away")):
        location = str(folder / f"{certificate}.p12")
        for name, value in (("type", "PKCS12"), ("location", location), ("password", "store")):
            properties[f"listener.name.{listener}.ssl.keystore.{name}"] = value
    with secured:
        for topic in ("events", "predictions", "dead-letters"):
            secured.create_topic(topic)
        yield Secure(secured, sasl, tls, elsewhere, folder)


def _certificate(folder: Path, name: str, host: str) -> None:
    key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
    _openssl(
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"),
        *("-addext", f"subjectAltName={host}", "-keyout", key, "-out", certificate),
    )
    _openssl(
        *("pkcs12", "-export", "-in", certificate, "-inkey", key),
        *("-out", folder / f"{name}.p12", "-passout", "pass:store"),
    )


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IHOMER_KAFKA_USERNAME", USER)
    monkeypatch.setenv("IHOMER_KAFKA_PASSWORD", PASSWORD)


def test_the_daemon_runs_over_tls_and_its_secret_is_nowhere(
    secure: Secure, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def uri(topic: str) -> str:
        return f"kafka://{secure.tls}/{topic}?{secure.query()}"

    with caplog.at_level(logging.DEBUG):
        sink = KafkaSink.from_uri(uri("events"))
        sink.write(list(events(0, 200, 1)))
        sink.close()
    bad = sum(1 for i in range(200) if i % BAD_EVERY == BAD_EVERY - 1)
    password = tmp_path / "password"
    password.write_text(PASSWORD + "\n")
    home = tmp_path / "home"
    home.mkdir()
    daemon = Daemon(
        home / "log",
        [
            *("--source", uri("events"), "--sink", uri("predictions")),
            *("--dead-letters", uri("dead-letters"), "--state-dir", str(home / "state")),
            *("--log-level", "debug"),
        ],
        {"IHOMER_KAFKA_USERNAME": USER, "IHOMER_KAFKA_PASSWORD_FILE": str(password)},
    )
    try:
        daemon.wait_for_log("ready")
        source = KafkaSource.from_uri(f"{uri('predictions')}&group=reader")
        found: list[Record] = []

        def all_came() -> bool:
            found.extend(source.next_batch(500, 0.5) or ())
            return len(found) >= 200 - bad

        daemon.wait_for(all_came)
        source.close()
        daemon.stop()
    finally:
        daemon.kill()
    assert len(found) == 200 - bad
    assert len(list((home / "state").rglob("manifest.json"))) >= 1
    kept = [path for path in home.rglob("*") if path.is_file()]
    assert not [path for path in kept if PASSWORD.encode() in path.read_bytes()]
    assert PASSWORD.encode() not in b"".join(r.value for r in found if isinstance(r.value, bytes))
    # Our own lines never tell the password, whatever is logged.
    assert not [r for r in caplog.records if "ihomer" in r.name and PASSWORD in r.getMessage()]


def _reason(address: str, query: str) -> str:
    reason = describe(f"kafka://{address}?{query}", 1.0).reason
    assert reason is not None
    assert address in reason
    assert "\n" not in reason
    assert WRONG not in reason
    assert PASSWORD not in reason
    return reason


def test_a_wrong_password_is_told(secure: Secure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IHOMER_KAFKA_PASSWORD", WRONG)
    said = "wrong user name or password"
    assert said in _reason(secure.sasl, f"security_protocol=SASL_PLAINTEXT&{SCRAM}")
    assert said in _reason(secure.tls, secure.query())


def test_a_mechanism_that_is_not_offered_is_told(secure: Secure) -> None:
    query = "security_protocol=SASL_PLAINTEXT&sasl_mechanism=PLAIN"
    assert " sasl_mechanism=PLAIN" in _reason(secure.sasl, query)


def test_an_unknown_certificate_is_told(secure: Secure) -> None:
    for query in (f"security_protocol=SASL_SSL&{SCRAM}", secure.query("other")):
        reason = _reason(secure.tls, query)
        assert "certificate is not accepted: self-signed certificate" in reason
        assert "ssl_cafile" in reason


def test_a_certificate_for_another_host_is_told(secure: Secure) -> None:
    reason = _reason(secure.elsewhere, secure.query("away"))
    assert "certificate is not valid for '127.0.0.1' (name the broker as its" in reason


@pytest.mark.parametrize("listener", ["sasl", "tls"])
def test_a_missing_security_protocol_is_told(secure: Secure, listener: str) -> None:
    address = secure.sasl if listener == "sasl" else secure.tls
    assert "another security_protocol than PLAINTEXT" in _reason(address, "")


def test_tls_where_there_is_none_is_told(secure: Secure) -> None:
    reason = _reason(secure.broker.bootstrap, "security_protocol=SSL")
    assert "no TLS handshake there" in reason
