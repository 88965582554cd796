"""Training rows as Parquet files, laid out as the `datasets` library expects them."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from embedloom.records import Example

SHARD_ROWS = 100_000
BLOCK_ROWS = 2_000


def write_parquet(rows: Iterable[Example], folder: Path, *, shard_rows: int = SHARD_ROWS) -> int:
    """Writes `train-NNNNN-of-NNNNN.parquet` to a folder; every field of an `Example` is a column. Returns the rows.

    Args:
        rows: read once; a few thousand are held.
        folder: is made; what it holds stays.
        shard_rows: rows of a file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    hints = typing.get_type_hints(Example)
    names = [field.name for field in dataclasses.fields(Example)]
    kinds: dict[Any, Any] = {str: pa.string(), float | None: pa.float64(), tuple[str, ...]: pa.list_(pa.string())}
    schema = pa.schema([(name, kinds[hints[name]]) for name in names])
    stream = iter(rows)
    written: list[Path] = []
    count = 0
    while (first := next(stream, None)) is not None or not written:
        path = folder / f".shard-{len(written)}.partial"
        shard = islice(stream, shard_rows - 1)
        with pq.ParquetWriter(path, schema, compression="zstd") as file:
            block = [first] if first is not None else []
            while block:
                block += islice(shard, BLOCK_ROWS - len(block))
                columns = {name: [_plain(getattr(row, name)) for row in block] for name in names}
                file.write_table(pa.table(columns, schema=schema))
                count += len(block)
                block = list(islice(shard, BLOCK_ROWS))
        written.append(path)
        if first is None:
            break
    for number, path in enumerate(written):
        path.rename(folder / f"train-{number:05}-of-{len(written):05}.parquet")
    return count


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    # Half of a surrogate pair is no UTF-8.
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
