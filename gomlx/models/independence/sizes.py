"""Sizes of dimensions as products: a number times symbols.

A symbol is the batch, `BATCH`, or the size of an input's dimension that the signature
leaves open. Rows run together only if they agree in the latter, so such a size is the
same whether a row runs alone or not; only the batch is not.
"""

from collections.abc import Iterable
from math import prod
from typing import NamedTuple

BATCH = "batch"
VARYING = "varying"  # stands for what the values of several rows decide


class Size(NamedTuple):
    """A whole number times symbols, which are sorted; a symbol may come repeatedly."""

    number: int
    symbols: tuple[str, ...] = ()

    @property
    def batches(self) -> int:
        """How often the batch is a factor."""
        return self.symbols.count(BATCH)

    @property
    def is_number(self) -> bool:
        """True when the size is known."""
        return not self.symbols


ONE = Size(1)
WHOLE_BATCH = Size(1, (BATCH,))


def product(sizes: Iterable[Size]) -> Size:
    """Multiply sizes."""
    factors = [*sizes]
    number = prod(size.number for size in factors)
    if number == 0:
        return Size(0)
    return Size(number, tuple(sorted(s for size in factors for s in size.symbols)))


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
