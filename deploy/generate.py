"""Generates every key, certificate and password of the Compose stack, once, into volumes.

- One folder (a named volume) for each consumer: a container sees the secrets that are mounted into it, no others.
- What exists is kept: passwords and keys are set in databases when those are first made.
- OpenBao's certificate is made anew, with a certificate authority of its own, when it ends within 30 days. The
  authority's private key is never stored.
- Nothing is printed but the names of the files that were made.

Files that only this image's user reads are 0400. The others are 0444: the servers run as users of their own, and the
volume, not the mode, keeps everybody else out.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import secrets
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

OWNER, OTHERS = 0o400, 0o444
LIFETIME = dt.timedelta(days=365)
RENEW = dt.timedelta(days=30)
SKEW = dt.timedelta(hours=1)
NAMES = ("openbao", "localhost")
PASSWORDS = {
    "temporal-db/password": OTHERS,
    "data-db/password": OTHERS,
    "data-manager/password": OWNER,
}


def generate(folder: Path, *, now: dt.datetime) -> list[str]:
    """Make what is missing below ``folder``; return the names of the files made.

    Args:
        now: The current time, with its zone.
    """
    made: list[str] = []

    def write(name: str, data: bytes, mode: int = OTHERS) -> None:
        made.append(name)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.new")
        beside.unlink(missing_ok=True)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
            os.fchmod(descriptor, mode)
        beside.replace(path)

    for name, mode in PASSWORDS.items():
        if not (folder / name).exists():
            write(name, secrets.token_urlsafe(32).encode(), mode)
    if not (folder / "openbao/unseal.key").exists():
        write("openbao/unseal.key", secrets.token_bytes(32))
    for name in ("operator", "identity"):
        private = folder / name / f"{name}.pem"
        if not private.exists():
            write(f"{name}/{name}.pem", _private(ed25519.Ed25519PrivateKey.generate()), OWNER)
        public = folder / "public" / f"{name}.pub"
        if not public.exists():
            write(f"public/{name}.pub", _public(private.read_bytes()))
    if not _fresh(folder / "openbao/server.pem", now=now) or not (folder / "public/ca.pem").exists():
        ca, certificate, key = _certificates(now)
        write("openbao/server.key", key)
        write("openbao/server.pem", certificate)
        write("public/ca.pem", ca)
    return made


def _fresh(path: Path, *, now: dt.datetime) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return False
    return certificate.not_valid_after_utc - now > RENEW


def _certificates(now: dt.datetime) -> tuple[bytes, bytes, bytes]:
    """Return a certificate authority, a server certificate it signed, and that one's key, all PEM."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Remit Compose stack")])
    ca = (
        _builder(now, key=ca_key, signer=ca_key, subject=ca_name, issuer=ca_name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAMES[0])])
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in NAMES]
    names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    server = (
        _builder(now, key=key, signer=ca_key, subject=subject, issuer=ca_name)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    return ca.public_bytes(pem), server.public_bytes(pem), _private(key)


def _builder(
    now: dt.datetime,
    *,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    subject: x509.Name,
    issuer: x509.Name,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _private(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _public(private: bytes) -> bytes:
    public = serialization.load_pem_private_key(private, password=None).public_key()
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def main() -> None:
    """Generate below the folder that is the first argument."""
    for name in generate(Path(sys.argv[1]), now=dt.datetime.now(dt.UTC)):
        sys.stdout.write(f"made {name}\n")


if __name__ == "__main__":
    main()
