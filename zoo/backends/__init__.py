"""The places that a registry can be: a folder, a web server, a bucket, a model hub."""

from zoo.backends.base import Backend, Opened, Writer
from zoo.backends.opening import open_backend, open_writer

__all__ = ["Backend", "Opened", "Writer", "open_backend", "open_writer"]
