"""Making many small values at less cost."""

make = tuple.__new__
"""`make(Kind, (field, ...))`: a NamedTuple of all its fields, in half the time that its own constructor takes.

That one ends in this call, too; it adds defaults and keywords, which nobody needs who names every field.
"""
