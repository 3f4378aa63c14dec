"""``pifa serve``: a web page and a REST interface for one checkpoint."""
