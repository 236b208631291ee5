"""Size limit of decoded parquet files: a few megabytes may decode to more than a disk holds."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palign_hf.errors import UserError


if TYPE_CHECKING:
    import pyarrow.parquet as pq

# Smallest size limit of a file's decoded rows, and the largest ratio to its size. Real traces reach a ratio of ten.
MOST_DECODED = 2**30
MOST_RATIO = 100
# Bytes that are decoded at a time for counting, by the size of the largest possible value.
_AT_ONCE = 2**26


def check_decoded(files: Iterable[Path]) -> None:
    """Refuse parquet files whose decoded rows are far larger than the file, before they are written as a table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in files:
        try:
            with pq.ParquetFile(path) as file:
                size = path.stat().st_size
                most = max(MOST_DECODED, MOST_RATIO * size)
                if _at_most(file) <= most or _decoded(file, most) <= most:
                    continue
        except (pa.ArrowException, OSError):
            continue  # its reader reports the error
        raise UserError(
            f"`{path.name}` has {size / 2**20:,.1f} MiB, but its rows take more than {most / 2**30:,.1f} GiB once "
            f"they are decoded: the same values stand in it over and over. Write the rows and columns that are needed "
            f"to a file of their own, or load it yourself and pass the `Dataset`."
        )


def _at_most(file: "pq.ParquetFile") -> int:
    """Bytes that the rows can't exceed, by the metadata: with a dictionary, each may hold its longest value."""
    total = 0
    for group in range(file.metadata.num_row_groups):
        for column in range(file.metadata.row_group(group).num_columns):
            about = file.metadata.row_group(group).column(column)
            plain = about.total_uncompressed_size + 16 * about.num_values
            repeats = any("DICTIONARY" in encoding for encoding in about.encodings)
            total += about.num_values * about.total_uncompressed_size if repeats else plain
    return total


def _decoded(file: "pq.ParquetFile", most: int) -> int:
    """Bytes of the rows, or of as many as exceed `most`."""
    groups = [file.metadata.row_group(at) for at in range(file.metadata.num_row_groups)]
    sizes = (one.column(at).total_uncompressed_size for one in groups for at in range(one.num_columns))
    largest = max(sizes, default=1)
    total = 0
    for batch in file.iter_batches(batch_size=max(16, min(65_536, _AT_ONCE // max(largest, 1)))):
        total += sum(_taken(column) for column in batch.columns)
        if total > most:
            break
    return total


def _taken(column: Any) -> int:
    """Bytes of a column where each row has its value: one that was written as a dictionary is read as one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_dictionary(kind):
        if not pa.types.is_string(kind.value_type) and not pa.types.is_large_string(kind.value_type):
            return 8 * len(column) + int(column.nbytes)
        lengths = pc.take(pc.binary_length(column.dictionary), column.indices)
        return 4 * len(column) + int(pc.sum(lengths.cast(pa.int64())).as_py() or 0)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return 4 * len(column) + _taken(column.flatten())
    if pa.types.is_struct(kind):
        return sum(_taken(one) for one in column.flatten())
    return int(column.nbytes)
