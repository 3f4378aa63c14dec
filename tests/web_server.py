"""``pifa serve`` in a thread of the test's own, on a port that is free."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import uvicorn

from pipelines.serve.run import configured, listen
from pipelines.serve.work import Worker


@contextmanager
def web_server(worker: Worker, host: str = "127.0.0.1", names: Sequence[str] = ()) -> Iterator[str]:
    """Its address, without a slash at the end."""
    listening = listen(host, 0)
    server = uvicorn.Server(configured(worker, host, names))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
