"""What can go wrong in the zoo; every message says file or argument, expected, found, what to do."""


class ZooError(ValueError):
    """Any fault of a registry, an entry, a checkpoint or an argument; the base of all the others."""


class RegistryError(ZooError):
    """A registry cannot be read or written, or its index is not a registry's index."""


class MissingFileError(RegistryError):
    """A registry was reached and has no such file."""


class UnreachableError(RegistryError):
    """A registry did not answer, or broke off: the fault may pass, and the same may be asked again.

    Attributes:
        retry_after: seconds after which its server asks to be asked again, or None.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class OfflineError(RegistryError):
    """The network is not to be used, and the cache does not hold what is asked for."""


class StaleIndexError(RegistryError):
    """A registry's index has expired, is older than one seen before, or is another under the same serial."""


class UnknownEntryError(ZooError):
    """A reference is malformed, or nothing in the registry matches it."""


class CheckpointError(ZooError):
    """A weights file is not a PIFA checkpoint, or not the one its entry describes."""


class HashError(ZooError):
    """A file's size or SHA-256 is not what its entry promises."""


class SignatureError(ZooError):
    """Something is not signed by a trusted key, or its signature is damaged or of something else."""


class PublishError(ZooError):
    """A publication or a yank is refused."""


class OldIndexWarning(UserWarning):
    """A registry cannot be reached, and its index as it was seen last is used."""


class YankedWarning(UserWarning):
    """An exactly pinned version was withdrawn by its publisher."""
