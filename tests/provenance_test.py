"""Hashes and versions: their values name folders and rows on disk and decide draws, so they never change."""

import dataclasses

import pytest

from r1jax.io import provenance


@dataclasses.dataclass(frozen=True)
class Settings:
    steps: int
    names: tuple[str, ...] = ()


def test_the_fingerprint_depends_on_values_and_not_on_key_order():
    assert provenance.fingerprint({"a": 1, "b": (2,)}) == provenance.fingerprint({"b": [2], "a": 1})
    assert provenance.fingerprint(Settings(1)) != provenance.fingerprint(Settings(2))
    assert len(provenance.fingerprint(Settings(1))) == 12
    # Base models are kept in folders named by it: the value may not change.
    assert provenance.fingerprint({"a": 1}) == "015abd7f5cc5"
    assert provenance.fingerprint({"b": [2, "ä"], "a": 1.5}) == "9213cccfebdc"


def test_hashes_of_bytes_and_texts_keep_their_values():
    assert provenance.sha256("abc") == provenance.sha256(b"abc")
    assert provenance.short_hash("abc", 16) == "ba7816bf8f01cfea"  # FIPS 180-2, appendix B.1
    assert provenance.sha256("ä") == provenance.sha256("ä".encode())
    assert provenance.blake2b("abc", 64).hex().startswith("ba80a53f981c4d0d6a2797b69f12f6e9")  # RFC 7693, appendix A
    assert provenance.blake2b("abc", 8) != provenance.blake2b("abc", 64)[:8]  # the size is a part of what is hashed


def test_hashes_of_files_keep_their_values(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.jsonl").write_text('{"prompt":"1+1?","answer":"2"}\n')
    (tmp_path / "sub" / "b").write_bytes(b"\0\1")
    one, two = tmp_path / "a.jsonl", tmp_path / "sub" / "b"
    assert provenance.file_hash(one) == "003e5159fd3919c49daacef73ca78d93c7f7fa6c8452757d401805f3546cbd8e"
    assert provenance.joined_hash([one]) == provenance.file_hash(one)
    assert provenance.joined_hash([one, two]) == provenance.sha256(one.read_bytes() + b"\0\1").hex()
    named = provenance.named_files_hash({"a.jsonl": one, "sub/b": two})
    lines = f"a.jsonl\0{provenance.file_hash(one)}\nsub/b\0{provenance.file_hash(two)}\n"
    assert named == provenance.sha256(lines).hex()
    assert named != provenance.named_files_hash({"a.jsonl": one, "sub/c": two})


def test_versions_of_code_change_with_any_byte_and_any_name(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "b.py").write_text("x = 1\n")
    one, two = (provenance.code_version(tmp_path, [tmp_path / name]) for name in ("a.py", "b.py"))
    assert one.startswith("r1jax ") and one != two
    (tmp_path / "a.py").write_text("x = 2\n")
    assert provenance.code_version(tmp_path, [tmp_path / "a.py"]) not in (one, two)


def test_versions_of_libraries_are_those_installed():
    import numpy

    assert provenance.library_versions(["numpy"]) == {"numpy": numpy.__version__}
    with pytest.raises(ModuleNotFoundError):
        provenance.library_versions(["no-such-package-of-r1jax"])
