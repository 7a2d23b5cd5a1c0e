"""TLS of the embedded OpenBao: a certificate authority and one server certificate for loopback.

- The authority's private key is never stored: nobody can sign a second certificate with it.
- Both are made anew when they do not fit each other or end within 30 days.
"""

from __future__ import annotations

import datetime as dt
import ipaddress

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from remit.embedded.state import StateFolder

CA = "tls/ca.pem"
CERTIFICATE = "tls/server.pem"
KEY = "tls/server.key"
_LIFETIME = dt.timedelta(days=365)
_RENEW = dt.timedelta(days=30)
_SKEW = dt.timedelta(hours=1)


def ensure(state: StateFolder, *, now: dt.datetime) -> None:
    """See that ``tls/ca.pem``, ``tls/server.pem`` and ``tls/server.key`` are there and good.

    Args:
        state: The state folder.
        now: The current time, with its zone.
    """
    if not _good(state, now):
        _make(state, now)


def _good(state: StateFolder, now: dt.datetime) -> bool:
    try:
        ca = x509.load_pem_x509_certificate((state.path / CA).read_bytes())
        server = x509.load_pem_x509_certificate((state.path / CERTIFICATE).read_bytes())
        key = serialization.load_pem_private_key((state.path / KEY).read_bytes(), password=None)
        server.verify_directly_issued_by(ca)
    except (OSError, ValueError, TypeError, InvalidSignature):
        return False
    return server.public_key() == key.public_key() and server.not_valid_after_utc - now > _RENEW


def _make(state: StateFolder, now: dt.datetime) -> None:
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Remit embedded {state.id[:8]}")])
    ca = (
        _builder(now, key=ca_key, signer=ca_key)
        .subject_name(ca_name)
        .issuer_name(ca_name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    server = (
        _builder(now, key=key, signer=ca_key)
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "OpenBao")]))
        .issuer_name(ca_name)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(key_cert_sign=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]),
            critical=False,
        )
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    state.write(KEY, key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    state.write(CERTIFICATE, server.public_bytes(pem))
    state.write(CA, ca.public_bytes(pem))


def _builder(
    now: dt.datetime, *, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _LIFETIME)
        .public_key(key.public_key())
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )


def _usage(*, key_cert_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        encipher_only=False,
        decipher_only=False,
    )
