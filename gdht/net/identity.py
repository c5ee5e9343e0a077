"""Who this node is: the hash of its public key when it has a key, else of the address it advertises."""

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from gdht.core.ident import hash_ident
from gdht.errors import ConfigError


def node_ident(hostkey: str, advertised: str, option: str = "hostkey") -> int:
    """The identifier of a node. hostkey: path of a PEM private key, or empty. advertised: `host:port`.

    option: where the first was given. Raises: ConfigError naming that and the file when there is no usable key in it.
    """
    return key_file_ident(hostkey, option) if hostkey else hash_ident(advertised.encode())


def key_file_ident(path: str, option: str) -> int:
    """SHA-256 of the public key (DER SubjectPublicKeyInfo) that belongs to a private key in PEM form.

    option: where the path was given. Raises: ConfigError naming both.
    """
    try:
        key = serialization.load_pem_private_key(Path(path).read_bytes(), password=None)
    except OSError as error:
        raise ConfigError(f"{option} = {path}: cannot be read: {error.strerror}") from error
    except TypeError as error:
        raise ConfigError(f"{option} = {path}: the key is encrypted; a node needs one without a password") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{option} = {path}: not a private key in PEM form") from error
    encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return hash_ident(key.public_key().public_bytes(encoding, form))
