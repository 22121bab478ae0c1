"""A small certificate authority, the SuperLink's certificate, and the key pairs of SuperNodes.

Only the SuperLink has a certificate. A SuperNode authenticates by signing with its own key, whose
public half the SuperLink knows.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from re import fullmatch
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import ssh

# Validity of the authority. The SuperLink's certificate is renewed more often.
AUTHORITY_DAYS = 3650
# Hosts by which the SuperLink connects to itself.
LOOPBACK = ("127.0.0.1", "::1", "localhost")

_PEM = serialization.Encoding.PEM


class Signed(NamedTuple):
    """Certificate with its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def new_authority() -> Signed:
    """Return an authority that can sign certificates, but no further authorities."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("fedlocal deployment")
    usage = _usage(key_cert_sign=True, crl_sign=True)
    unsigned = (
        _unsigned(name, name, key, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
    )
    return Signed(unsigned.sign(key, hashes.SHA256()), key)


def server_certificate(authority: Signed, hosts: Sequence[str], days: int) -> Signed:
    """Return a server certificate with a new key.

    Args:
        authority: Authority that signs it.
        hosts: Names and IP addresses of the server; the loopback names are always added.
        days: Validity in days, at most that of the authority.

    Raises:
        ValueError: An invalid host name or IP address, or a validity out of range.
    """
    left = (authority.certificate.not_valid_after_utc - datetime.now(UTC)).days
    if not 1 <= days <= left:
        raise ValueError(f"a certificate can last 1 to {left} days here, got {days}")
    names = [_general_name(host) for host in dict.fromkeys((*hosts, *LOOPBACK))]
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate.subject
    unsigned = (
        _unsigned(_name("SuperLink"), issuer, key, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
    return Signed(unsigned.sign(authority.key, hashes.SHA256()), key)


def node_key_pair() -> tuple[bytes, bytes]:
    """Return a new private key and its public key, in the OpenSSH format that Flower reads."""
    key = ec.generate_private_key(ec.SECP384R1())
    private = key.private_bytes(
        _PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return private, public_key_of(private)


def public_key_of(private: bytes) -> bytes:
    """Return the public key, as in `node_key_pair`, of a node's private key.

    Raises:
        ValueError: Not an OpenSSH private key on a NIST curve, or one with a pass phrase.
    """
    try:
        key = ssh.load_ssh_private_key(private, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(f"not an OpenSSH private key without pass phrase ({error})") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not a key on a NIST elliptic curve; ssh-keygen -t ecdsa makes one")
    return key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )


def certificate_pem(signed: Signed) -> bytes:
    """Return the certificate in PEM format."""
    return signed.certificate.public_bytes(_PEM)


def key_pem(signed: Signed) -> bytes:
    """Return the unencrypted private key in PEM format."""
    return signed.key.private_bytes(
        _PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def load_signed(certificate: bytes, key: bytes) -> Signed:
    """Read a certificate and its key.

    Raises:
        ValueError: One of them cannot be read, or they do not belong together.
    """
    loaded = x509.load_pem_x509_certificate(certificate)
    private = serialization.load_pem_private_key(key, password=None)
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise ValueError("the key is not on an elliptic curve")
    if private.public_key() != loaded.public_key():
        raise ValueError("the key does not belong to the certificate")
    return Signed(loaded, private)


def signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Return whether the authority's key signed the certificate."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def hosts_of(certificate: x509.Certificate) -> list[str]:
    """Return the names and IP addresses of a certificate."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in names]


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        pass
    label = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
    # The last part of a name is never a number: 192.168.1 is an address with a part missing.
    if len(host) > 253 or not fullmatch(rf"({label}\.)*(?!\d+$){label}", host.lower()):
        raise ValueError(
            f"{host!r} is neither an IP address nor a host name; leave out https://, ports and"
            " slashes, and write names with other letters in their xn-- form"
        )
    return x509.DNSName(host.lower())


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, common)])


def _unsigned(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A day of allowance for machines whose clocks are behind.
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(**allowed: bool) -> x509.KeyUsage:
    uses = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement"
        " key_cert_sign crl_sign encipher_only decipher_only"
    )
    return x509.KeyUsage(**{use: allowed.get(use, False) for use in uses.split()})
