"""Groups of the ``pifa`` command that are read only when they are used."""
