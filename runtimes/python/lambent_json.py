"""Answers with what has no JSON of its own, as AWS's runtime writes it: exact numbers
for Decimals, objects for namedtuples, text for bytes. Loaded when one comes.
"""
import decimal


class _Number(str):
    """Digits that are written as they are."""


def writer(escape):
    """Writes strings by escape, and numbers."""

    def write(text):
        return str(text) if type(text) is _Number else escape(text)

    return write


def plain(value, number=_Number, around=()):
    """The value in types that the encoder knows. Others are left for it to refuse."""
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, decimal.Decimal):
        return float("nan") if value.is_nan() else number(value)
    if not isinstance(value, (dict, list, tuple)):
        return value
    if id(value) in around:
        raise ValueError("Circular reference detected")
    around = (*around, id(value))
    if isinstance(value, tuple) and callable(getattr(value, "_asdict", None)):
        value = value._asdict()
    if isinstance(value, dict):
        return {key: plain(part, number, around) for key, part in value.items()}
    return [plain(part, number, around) for part in value]
