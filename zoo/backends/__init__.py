"""The places that a registry can be: a folder, a web server, a bucket, a model hub."""

from zoo.backends.base import Backend, Opened, Writer
from zoo.backends.opening import Mirror, open_backend, open_writer

__all__ = ["Backend", "Mirror", "Opened", "Writer", "open_backend", "open_writer"]
