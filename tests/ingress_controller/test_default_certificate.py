from pathlib import Path

import pem
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from ingress_controller.default_certificate import NAME, from_files, self_signed


def test_a_self_signed_certificate_names_itself_and_has_its_own_key() -> None:
    first, second = self_signed(), self_signed()

    leaf = x509.load_pem_x509_certificate(first.chain.encode())
    key = serialization.load_pem_private_key(first.private_key.encode(), None)
    assert leaf.subject.rfc4514_string() == f"CN={NAME}"
    assert leaf.public_key() == key.public_key()
    assert first.private_key != second.private_key
    assert "PRIVATE" not in repr(first)


def test_files_are_a_certificate_and_its_key(tmp_path: Path) -> None:
    chain, private_key = pem.pair("shop.example")
    (tmp_path / "tls.crt").write_text(chain)
    (tmp_path / "tls.key").write_text(private_key)

    read = from_files(tmp_path / "tls.crt", tmp_path / "tls.key")

    assert (read.chain, read.private_key) == (chain, private_key)


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    (tmp_path / "tls.crt").write_text(pem.pair("shop.example")[0])
    (tmp_path / "tls.key").write_text(pem.pair("other.example")[1])

    with pytest.raises(ValueError, match="its private key does not belong"):
        from_files(tmp_path / "tls.crt", tmp_path / "tls.key")
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        from_files(tmp_path / "gone", tmp_path / "tls.key")
