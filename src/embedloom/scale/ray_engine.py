"""The engine of a cluster: Ray Data hands the places of blocks to actors, each of which holds the model.

Only places go out and vectors come back: an actor reads its texts itself, so the file and the model must be where every
machine finds them. A worker that dies costs the blocks it had in hand, which others encode again.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from embedloom.errors import EmbedloomError, MissingExtraError, ModelError
from embedloom.records import Embedder
from embedloom.scale.encode import Engine, Work, block_vectors
from embedloom.scale.texts import Place, TextBlock, read_block

if TYPE_CHECKING:
    from embedloom.records import Vectors


class _Worker:
    """An actor: opens the model once and encodes one block a call."""

    def __init__(self, open_model: Callable[[], Embedder], work: Work) -> None:
        self._embedder = open_model()
        self._work = work

    def __call__(self, rows: Any) -> Any:
        place = Place(**rows.to_pylist()[0])
        try:
            block = read_block(self._work.source, place, field=self._work.field)
            vectors_ND = block_vectors(self._embedder, block, self._work.told)
        except EmbedloomError as error:
            # As data: an exception would come back inside several of Ray's own.
            return _answer(place.number, error=str(error))
        texts = block.texts if self._work.told.texts else ()
        packed = np.ascontiguousarray(vectors_ND, dtype="<f4").tobytes()
        return _answer(place.number, block.ids, texts, packed)


def _answer(
    number: int, ids: Sequence[str] = (), texts: Sequence[str] = (), vectors: bytes = b"", error: str = ""
) -> Any:
    """An Arrow table of one row, with types that Ray need not guess."""
    import pyarrow as pa

    kinds = {
        "number": pa.int64(), "ids": pa.list_(pa.large_string()), "texts": pa.list_(pa.large_string()),
        "vectors": pa.large_binary(), "error": pa.string(),
    }  # fmt: skip
    row = {"number": number, "ids": list(ids), "texts": list(texts), "vectors": vectors, "error": error}
    return pa.Table.from_pylist([row], schema=pa.schema(kinds))


def encode_on_ray(
    open_model: Callable[[], Embedder], *, address: str = "", workers: int | None = None, cpus: float = 1
) -> Engine:
    """The engine of a Ray cluster.

    Args:
        open_model: opens the embedder in an actor; pickled by name, so a function of a module.
        address: of a running cluster; empty starts one on this machine, for as long as the engine works.
        workers: actors; by default one a GPU of the cluster, or one for `cpus` of its processors.
        cpus: processors that an actor takes where there is no GPU.

    Raises:
        MissingExtraError: ray is not installed.
        ModelError: no cluster at the address.
    """
    try:
        import ray
    except ImportError:
        raise MissingExtraError("ray", "ray") from None

    def engine(work: Work, places: list[Place]) -> Iterator[tuple[TextBlock, Vectors]]:
        started = not ray.is_initialized()
        if started:
            _connect(ray, address)
        try:
            yield from _encoded(ray, open_model, work, places, workers, cpus)
        finally:
            if started:
                ray.shutdown()

    return engine


def _encoded(
    ray: Any, open_model: Callable[[], Embedder], work: Work, places: list[Place], workers: int | None, cpus: float
) -> Iterator[tuple[TextBlock, Vectors]]:
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0))
    most = gpus or max(1, int(resources.get("CPU", 1) / cpus))
    taken: dict[str, Any] = {"num_gpus": 1} if gpus else {"num_cpus": cpus}
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    told = dataclasses.replace(work, source=Path(work.source).resolve())
    rows = [dataclasses.asdict(place) for place in places]
    # A block of Ray's for each of ours: what an actor takes at a time, and what is lost with it.
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        _Worker,
        fn_constructor_args=(open_model, told),
        batch_size=1,
        batch_format="pyarrow",
        concurrency=min(workers or most, len(rows)),
        **taken,
    )
    for row in dataset.iter_rows():
        if row["error"]:
            raise ModelError(row["error"])
        ids = tuple(map(str, row["ids"]))
        texts = tuple(map(str, row["texts"])) if work.told.texts else ids
        vectors = np.frombuffer(row["vectors"], dtype="<f4").reshape(len(ids), work.told.full_dimension)
        yield TextBlock(int(row["number"]), ids, texts), vectors.astype(np.float32)


def _connect(ray: Any, address: str) -> None:
    try:
        ray.init(
            address=address or "local",
            include_dashboard=False if not address else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise ModelError(f"no Ray cluster at {address or 'this machine'} ({first}); start one: ray start") from None
