"""Which table reads which file, by the ending of its name."""

from pathlib import Path

from gomlx.cli.files.tables import RowTable
from gomlx.cli.files.text import CsvTable, JsonLinesTable
from gomlx.cli.terminal import usage_error
from gomlx.errors import GomlxError


def open_table(path: Path) -> RowTable:
    """Return the table of a file.

    Raises typer.Exit for an unknown ending, OSError as `open` does, and GomlxError if
    the file has no header or pyarrow is missing.
    """
    ending = path.suffix.lower()
    if ending == ".csv":
        return CsvTable(path, ",")
    if ending == ".tsv":
        return CsvTable(path, "\t")
    if ending in (".jsonl", ".ndjson"):
        return JsonLinesTable(path)
    if ending != ".parquet":
        endings = ".csv, .tsv, .jsonl, .ndjson or .parquet"
        raise usage_error(f"{path}: expected a name that ends in {endings}")
    try:
        from gomlx.cli.files.parquet import ParquetTable
    except ModuleNotFoundError as error:
        raise GomlxError(
            f"{path}: {error}; it needs: pip install 'gomlx[parquet]'"
        ) from None
    return ParquetTable(path)
