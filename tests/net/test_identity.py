"""Identifiers from keys and addresses."""

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from gdht.errors import ConfigError
from gdht.net.identity import node_ident

KEYS = {
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "ec": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}


def pem(key, encryption=None):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


@pytest.mark.parametrize("kind", KEYS)
def test_a_node_with_a_key_is_the_hash_of_its_public_key(tmp_path, kind):
    key, path = KEYS[kind](), tmp_path / "hostkey.pem"
    path.write_bytes(pem(key))
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert node_ident(str(path), "127.0.0.1:1") == int.from_bytes(hashlib.sha256(der).digest(), "big")


def test_a_node_without_a_key_is_the_hash_of_its_address():
    digest = hashlib.sha256(b"127.0.0.1:6001").digest()
    assert node_ident("", "127.0.0.1:6001") == int.from_bytes(digest, "big")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "not a private key in PEM form"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "not a private key in PEM form"),
        (pem(ed25519.Ed25519PrivateKey.generate(), BestAvailableEncryption(b"x")), "the key is encrypted"),
    ],
)
def test_an_unusable_key_file_is_named(tmp_path, content, complaint):
    path = tmp_path / "hostkey.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"hostkey = {path}: {complaint}"):
        node_ident(str(path), "127.0.0.1:1")
