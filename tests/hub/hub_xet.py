"""Xet without its servers: the client keeps chunks in a folder (`local://`), which the double reads to know of them.

A shard there is a table of 48-byte records. Of each file it says Xet's hash, its segments, and at the end the sha256.
"""

import time
from pathlib import Path


RECORD = 48
VERIFIED, DESCRIBED = 1 << 31, 1 << 30  # flags of a file: a check per segment, and a record with the sha256


class LocalStore:
    """The folder where clients put what they upload by Xet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._read: set[str] = set()
        self._hashes: dict[str, str] = {}
        self._session: object = None

    @property
    def url(self) -> str:
        return f"local://{self.folder}"

    def hashes(self) -> dict[str, str]:
        """Xet's hash of every file that came, by its sha256."""
        for shard in sorted((self.folder / "xet" / "xorbs" / "shards").glob("*.mdb")):
            if shard.name not in self._read:
                self._hashes.update(files_of(shard.read_bytes()))
                self._read.add(shard.name)
        return self._hashes

    def read(self, sha256: str, size: int) -> bytes:
        """The bytes of a file, for clients that don't speak Xet."""
        return self.fetch(self.hashes()[sha256], size)

    def fetch(self, name: str, size: int | None = None) -> bytes:
        """The bytes of a file by Xet's name of it; put together by Xet's own library."""
        import hf_xet

        if self._session is None:
            self._session = hf_xet.XetSession()
        target = self.folder / f"{name}.read"
        expires = int(time.time()) + 3600
        with self._session.new_file_download_group(
            endpoint=self.url, token="local", token_expiry_unix_secs=expires
        ) as group:
            group.start_download_file(hf_xet.XetFileInfo(name, size), str(target))
        content = target.read_bytes()
        target.unlink()
        return content


def files_of(shard: bytes) -> dict[str, str]:
    """Xet's hash by sha256 of the files in a shard."""
    found = {}
    at = RECORD  # after the header
    while (name := shard[at : at + 32]) != b"\xff" * 32:
        flags, segments = (int.from_bytes(shard[at + 32 + n : at + 36 + n], "little") for n in (0, 4))
        at += RECORD * (1 + segments * (2 if flags & VERIFIED else 1))
        if flags & DESCRIBED:
            found[_spelled(shard[at : at + 32])] = _spelled(name)
            at += RECORD
    return found


def _spelled(name: bytes) -> str:
    """A hash as it is written: four numbers of eight bytes, each little-endian."""
    return "".join(name[n : n + 8][::-1].hex() for n in range(0, 32, 8))
