"""Sizes of dimensions as products: a number times symbols.

A symbol is the batch, `BATCH`, the size of an input's dimension that the signature
leaves open, or what the values of several rows decide. Rows run together only if they
agree in the sizes that are open, so such a size is the same whether a row runs alone or
not; the batch is not, and neither is what varies.
"""

from collections.abc import Iterable
from math import prod
from typing import NamedTuple

BATCH = "batch"
ONE_MORE = "batch + 1"  # as many as there are bounds of the rows' parts
VARYING = "?"  # begins a symbol for what the values of several rows decide


class Size(NamedTuple):
    """A whole number times symbols, which are sorted; a symbol may come repeatedly."""

    number: int
    symbols: tuple[str, ...] = ()

    @property
    def batches(self) -> int:
        """How often the batch is a factor; a size that is one more has no rows."""
        return self.symbols.count(BATCH) + 2 * self.symbols.count(ONE_MORE)

    @property
    def varies(self) -> bool:
        """True when the values of several rows decide."""
        return any(symbol.startswith(VARYING) for symbol in self.symbols)

    @property
    def is_number(self) -> bool:
        """True when the size is known."""
        return not self.symbols


ONE = Size(1)
WHOLE_BATCH = Size(1, (BATCH,))
BOUNDS = Size(1, (ONE_MORE,))


def product(sizes: Iterable[Size]) -> Size:
    """Multiply sizes."""
    factors = [*sizes]
    number = prod(size.number for size in factors)
    if number == 0:
        return Size(0)
    return Size(number, tuple(sorted(s for size in factors for s in size.symbols)))


def substituted(size: Size, old: str, new: str) -> Size:
    """Write one symbol for another."""
    symbols = [new if symbol == old else symbol for symbol in size.symbols]
    return Size(size.number, tuple(sorted(symbols)))


def quotient(size: Size, divisor: Size) -> Size | None:
    """Divide without a rest; None when that cannot be said."""
    if divisor.number == 0 or size.number % divisor.number:
        return None
    symbols = [*size.symbols]
    for symbol in divisor.symbols:
        if symbol not in symbols:
            return None
        symbols.remove(symbol)
    return Size(size.number // divisor.number, tuple(symbols))
