"""Rows of lists: one module a kind of object, each with the columns that Docker's client shows of it.

A module has a ``Row`` (a ``Record``), ``HEADERS`` (column → title), ``TABLE`` (the columns of the usual
table) and, where they differ from the common ones, ``table``, ``raw``, ``custom`` and ``rows``:
``sampan.cli.format`` puts them together.
"""
