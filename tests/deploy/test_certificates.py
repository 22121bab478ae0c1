"""Keys and certificates as the programs that use them see them."""

import socket
import ssl
import subprocess
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from fedlocal.flower.deploy import certificates
from fedlocal.flower.deploy.certificates import (
    certificate_pem,
    hosts_of,
    key_pem,
    load_signed,
    new_authority,
    node_key_pair,
    public_key_of,
    server_certificate,
    signed_by,
)


@pytest.fixture(scope="module")
def authority():
    return new_authority()


def handshake(server, authority, name, tmp_path):
    """Let a client that trusts the authority call the server by a name."""
    (tmp_path / "crt").write_bytes(certificate_pem(server))
    (tmp_path / "key").write_bytes(key_pem(server))
    ours, theirs = socket.socketpair()
    listening = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    listening.load_cert_chain(tmp_path / "crt", tmp_path / "key")

    def answer():
        with suppress(OSError), listening.wrap_socket(theirs, server_side=True) as connection:
            connection.recv(1)

    thread = threading.Thread(target=answer)
    thread.start()
    calling = ssl.create_default_context(cadata=certificate_pem(authority).decode())
    # As Python 3.13 does by default.
    calling.verify_flags |= ssl.VERIFY_X509_STRICT
    try:
        with calling.wrap_socket(ours, server_hostname=name) as connection:
            return connection.version()
    finally:
        ours.close()
        theirs.close()
        thread.join()


@pytest.mark.parametrize("name", ["link.example.org", "10.1.2.3", "fd00::7", "127.0.0.1", "::1"])
def test_every_host_is_trusted(authority, tmp_path, name):
    server = server_certificate(authority, ["Link.example.org", "10.1.2.3", "fd00::7"], 10)
    assert handshake(server, authority, name, tmp_path).startswith("TLSv1.")


def test_other_names_and_authorities_are_not(authority, tmp_path):
    server = server_certificate(authority, ["link.example.org"], 10)
    with pytest.raises(ssl.SSLCertVerificationError, match="not valid for"):
        handshake(server, authority, "other.example.org", tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError, match="verify failed"):
        handshake(server, new_authority(), "link.example.org", tmp_path)
    assert signed_by(server.certificate, authority.certificate)
    assert not signed_by(server.certificate, new_authority().certificate)


def test_an_expired_certificate_is_not(authority, tmp_path, monkeypatch):
    class Then(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) - timedelta(days=20)

    monkeypatch.setattr(certificates, "datetime", Then)
    server = server_certificate(authority, ["link.example.org"], 10)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        handshake(server, authority, "link.example.org", tmp_path)


def test_life_and_hosts(authority):
    server = server_certificate(authority, ["a", "b", "a"], 10)
    assert hosts_of(server.certificate) == ["a", "b", "127.0.0.1", "::1", "localhost"]
    left = server.certificate.not_valid_after_utc - datetime.now(UTC)
    assert timedelta(days=9) < left <= timedelta(days=10)
    for days in (0, certificates.AUTHORITY_DAYS + 1):
        with pytest.raises(ValueError, match=f"can last 1 to 36.. days here, got {days}"):
            server_certificate(authority, ["a"], days)


@pytest.mark.parametrize(
    "host",
    ["", "https://a", "a:8000", "a/b", "a b", "-a", "192.168.1", "300.1.1.1", "ä.de", "a..b"],
)
def test_what_is_no_host_is_refused(authority, host):
    with pytest.raises(ValueError, match="neither an IP address nor a host name"):
        server_certificate(authority, [host], 10)


def test_openssl_agrees(authority, tmp_path):
    server = server_certificate(authority, ["a"], 10)
    (tmp_path / "ca").write_bytes(certificate_pem(authority))
    (tmp_path / "crt").write_bytes(certificate_pem(server))
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "ca", "crt"]
    try:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no openssl here")
    assert done.returncode == 0, done.stderr


def test_keys_belong_to_their_certificates(authority):
    one, two = (server_certificate(authority, ["a"], 10) for _ in range(2))
    assert load_signed(certificate_pem(one), key_pem(one)).certificate == one.certificate
    with pytest.raises(ValueError, match="does not belong"):
        load_signed(certificate_pem(one), key_pem(two))


def test_node_keys_are_those_that_flower_reads():
    private, public = node_key_pair()
    assert private.startswith(b"-----BEGIN OPENSSH PRIVATE KEY-----")
    assert public.startswith(b"ecdsa-sha2-nistp384 ")
    assert public_key_of(private) == public
    assert node_key_pair()[1] != public
    with pytest.raises(ValueError, match="not an OpenSSH private key"):
        public_key_of(public)
