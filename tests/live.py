"""An application behind a real port, in a thread of this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from embedloom.serve.server import address_of, bind

if TYPE_CHECKING:
    from starlette.applications import Starlette


@contextmanager
def live(app: Starlette) -> Iterator[str]:
    """The application's address while it is served."""
    import uvicorn

    with bind("127.0.0.1", 0) as bound:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the server ended at its start"
            time.sleep(0.01)
        try:
            yield address_of(bound)
        finally:
            server.should_exit = True
            thread.join()
