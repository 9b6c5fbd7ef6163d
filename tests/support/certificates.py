"""Certificates for servers of the tests: signed by an authority of their own, or by nobody else."""

import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DAY = datetime.timedelta(days=1)


class Authority:
    """A certificate authority; ``ca_file`` is for clients that shall trust it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("An authority of the tests")
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        builder = _builder(self._name, self._name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.ca_file = folder / "ca.pem"
        self.ca_file.write_bytes(_pem(builder.add_extension(usage, critical=True).sign(self._key, hashes.SHA256())))

    def server(self, *names: str, days_ago: int = 0) -> ssl.SSLContext:
        """A server's context, for names or addresses; its certificate is good for a day from ``days_ago``."""
        return _server(self._folder, names, (self._name, self._key), days_ago)


def self_signed(folder: Path, *names: str) -> ssl.SSLContext:
    """A server's context with a certificate that no authority signed."""
    return _server(folder, names, None, 0)


def _server(
    folder: Path, names: tuple[str, ...], issuer: tuple[x509.Name, ec.EllipticCurvePrivateKey] | None, days_ago: int
) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(names[0])
    issued_by, signing_key = issuer or (name, key)
    builder = _builder(name, issued_by, key.public_key(), days_ago)
    builder = builder.add_extension(x509.SubjectAlternativeName([_general(n) for n in names]), critical=False)
    issuing = x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key())
    builder = builder.add_extension(issuing, critical=False)
    (folder / "cert.pem").write_bytes(_pem(builder.sign(signing_key, hashes.SHA256())))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def _builder(
    name: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days_ago: int = 0
) -> x509.CertificateBuilder:
    begin = datetime.datetime.now(datetime.UTC) - days_ago * DAY - datetime.timedelta(minutes=5)
    builder = x509.CertificateBuilder(issuer, name, key, x509.random_serial_number(), begin, begin + DAY)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
