"""Errors a user can cause. Each message names the file or argument, what was expected, what was found, what to do."""


class PifaError(ValueError):
    """Base of every error that is the input's fault, not the program's."""


class AnnotationError(PifaError):
    """An annotation file, or one face in it, can't be used."""


class ImageError(PifaError):
    """An image can't be read whole."""


class MorphableError(PifaError):
    """A morphable model's file is damaged or not what it should be."""


class StoreError(PifaError):
    """A store is missing, incomplete, damaged, or in the way."""


class CheckpointError(PifaError):
    """A checkpoint is missing, damaged, or does not match what it is used with."""


class ConfigError(PifaError):
    """A preset or setting is unknown or out of range."""


class DetectorError(PifaError):
    """A face detector is unknown, or its files can't be used."""
