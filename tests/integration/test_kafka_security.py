"""TLS and SASL against a real broker, and the reasons that are told when they fail."""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from ihomer.connectors.base import Message
from ihomer.connectors.kafka import KafkaSink, KafkaSource, describe
from tools.broker import Broker, free_port

pytestmark = pytest.mark.integration


class Secure(NamedTuple):
    broker: Broker
    sasl: str
    tls: str
    authorities: Path


@pytest.fixture(scope="module")
def secure(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """A broker with SASL with and without TLS; `broker` is asked for so that it skips alike."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    key, certificate, store = folder / "key.pem", folder / "cert.pem", folder / "store.p12"
    _openssl(
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
        *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate),
    )
    _openssl(
        *("pkcs12", "-export", "-in", certificate, "-inkey", key),
        *("-out", store, "-passout", "pass:store"),
    )
    sasl, tls = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    secured = Broker()
    properties = secured.properties
    listeners = f",OPEN://{sasl},TLS://{tls}"
    properties["listeners"] += listeners
    properties["advertised.listeners"] += listeners
    properties["listener.security.protocol.map"] += ",OPEN:SASL_PLAINTEXT,TLS:SASL_SSL"
    properties["sasl.enabled.mechanisms"] = "PLAIN"
    login = "org.apache.kafka.common.security.plain.PlainLoginModule"
    for name in ("open", "tls"):
        properties[f"listener.name.{name}.plain.sasl.jaas.config"] = (
            f'{login} required user_alice="wonder";'
        )
    for name, value in (("type", "PKCS12"), ("location", str(store)), ("password", "store")):
        properties[f"listener.name.tls.ssl.keystore.{name}"] = value
    with secured:
        secured.create_topic("events")
        yield Secure(secured, sasl, tls, certificate)


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IHOMER_KAFKA_USERNAME", "alice")
    monkeypatch.setenv("IHOMER_KAFKA_PASSWORD", "wonder")


def test_tls_and_sasl(secure: Secure, caplog: pytest.LogCaptureFixture) -> None:
    query = f"security_protocol=SASL_SSL&sasl_mechanism=PLAIN&ssl_cafile={secure.authorities}"
    uri = f"kafka://{secure.tls}/events?{query}"
    with caplog.at_level(logging.DEBUG):
        sink = KafkaSink.from_uri(uri)
        sink.write([Message(b"1")])
        sink.close()
        source = KafkaSource.from_uri(uri)
        batch = source.next_batch(10, 20.0)
        source.close()
    assert batch is not None
    assert [record.value for record in batch] == [b"1"]
    # Our own lines never tell the password, whatever is logged.
    assert not [r for r in caplog.records if "ihomer" in r.name and "wonder" in r.getMessage()]


def _reason(address: str, query: str) -> str:
    reason = describe(f"kafka://{address}?{query}", 1.0).reason
    assert reason is not None
    assert address in reason
    assert "\n" not in reason
    assert "wrong-one" not in reason
    return reason


def test_a_wrong_password_is_told(secure: Secure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IHOMER_KAFKA_PASSWORD", "wrong-one")
    sasl = "security_protocol=SASL_PLAINTEXT&sasl_mechanism=PLAIN"
    assert "wrong user name or password" in _reason(secure.sasl, sasl)
    tls = f"security_protocol=SASL_SSL&sasl_mechanism=PLAIN&ssl_cafile={secure.authorities}"
    assert "wrong user name or password" in _reason(secure.tls, tls)


def test_a_mechanism_that_is_not_offered_is_told(secure: Secure) -> None:
    query = "security_protocol=SASL_PLAINTEXT&sasl_mechanism=SCRAM-SHA-256"
    assert " sasl_mechanism=SCRAM-SHA-256" in _reason(secure.sasl, query)


def test_an_unknown_certificate_is_told(secure: Secure) -> None:
    reason = _reason(secure.tls, "security_protocol=SASL_SSL&sasl_mechanism=PLAIN")
    assert "certificate is not accepted: self-signed certificate" in reason
    assert "ssl_cafile" in reason


@pytest.mark.parametrize("listener", ["sasl", "tls"])
def test_a_missing_security_protocol_is_told(secure: Secure, listener: str) -> None:
    address = secure.sasl if listener == "sasl" else secure.tls
    assert "another security_protocol than PLAINTEXT" in _reason(address, "")


def test_tls_where_there_is_none_is_told(secure: Secure) -> None:
    reason = _reason(secure.broker.bootstrap, "security_protocol=SSL")
    assert "no TLS handshake there" in reason
