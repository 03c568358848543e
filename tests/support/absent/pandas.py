"""Is not here."""

raise ModuleNotFoundError("tests run services without it", name="pandas")
