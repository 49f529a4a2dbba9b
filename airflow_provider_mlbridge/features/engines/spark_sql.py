# SPDX-License-Identifier: Apache-2.0
"""
Spark SQL of Ibis expressions, with the meaning that they have in DuckDB.

Ibis' own compiler for Spark does most of it. What it is changed in gives other values there, or none:

- A cast of a float to an integer rounds to the nearest one, half to even; Spark's would cut off.
- Sums of integers are exact; Spark's have 64 bits.
- Distances of times are whole microseconds, and times are without zone after all that is done to them.
- Unsigned integers are kept in the next larger type.
- Quantiles are values of the column, of any type that has an order.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from airflow_provider_mlbridge.exceptions import FeatureError

_SUM_DIGITS = 20
"""Decimal digits of a 64-bit integer. Spark's sums have ten more: enough for ten thousand million rows."""

_FUNCTIONS = ("count_if",)
"""Functions of the engine that expressions here may call by name."""


def compile_spark_sql(expression: Any) -> str:
    """
    Spark SQL of an Ibis table expression.

    :raises FeatureError: when there is an operation in it that Spark has not.
    """
    import ibis.common.exceptions as com

    try:
        return str(spark_compiler().to_sqlglot(expression.unbind()).sql(dialect="spark"))
    except (com.OperationNotDefinedError, com.UnsupportedOperationError) as error:
        raise FeatureError(
            f"the recipe has an operation that Spark SQL has not: {error}. Use engine='duckdb' for it."
        ) from error


@cache
def spark_compiler() -> Any:
    """
    The compiler, which needs no pyspark.

    A class inside a function, because Ibis is not imported before it is needed.
    """
    import ibis.expr.datatypes as dt
    import sqlglot.expressions as sge
    from ibis.backends.sql.compilers.base import SQLGlotCompiler
    from ibis.backends.sql.compilers.pyspark import PySparkCompiler

    # Spark has no unsigned integers, and reads them from files as these.
    wider = {"uint8": dt.int16, "uint16": dt.int32, "uint32": dt.int64, "uint64": dt.Decimal(20, 0)}

    class Compiler(PySparkCompiler):  # type: ignore[misc]
        __slots__ = ()

        # The options that Ibis' own methods ask for are not there unless its connection is loaded.
        def visit_Field(self, op: Any, *, rel: Any, name: str) -> Any:  # noqa: N802
            return SQLGlotCompiler.visit_Field(self, op, rel=rel, name=name)

        def visit_NonNullLiteral(self, op: Any, *, value: Any, dtype: Any) -> Any:  # noqa: N802
            if dtype.is_floating():
                return sge.Cast(this=sge.convert(repr(value)), to=self.type_mapper.from_ibis(dtype))
            return super().visit_NonNullLiteral(op, value=value, dtype=dtype)

        def cast(self, arg: Any, to: Any) -> Any:
            return super().cast(arg, wider.get(str(to.copy(nullable=True)), to))

        def visit_Cast(self, op: Any, *, arg: Any, to: Any) -> Any:  # noqa: N802
            if op.arg.dtype.is_floating() and to.is_integer():
                arg = self.f.anon.rint(arg)
            return super().visit_Cast(op, arg=arg, to=to)

        def visit_Sum(self, op: Any, *, arg: Any, where: Any) -> Any:  # noqa: N802
            if op.arg.dtype.is_boolean():
                arg = self.cast(arg, dt.int32)
            if op.arg.dtype.is_integer() or op.arg.dtype.is_boolean():
                arg = self.cast(arg, dt.Decimal(_SUM_DIGITS, 0))
            return self.agg.sum(arg, where=where)

        def visit_IsInf(self, op: Any, *, arg: Any) -> Any:  # noqa: N802
            # Ibis' own compares the expressions themselves, and is always false.
            if not op.arg.dtype.is_floating():
                return sge.false()
            infinities = [
                self.visit_NonNullLiteral(op, value=value, dtype=dt.float64)
                for value in (math.inf, -math.inf)
            ]
            return sge.In(this=arg, expressions=infinities)

        def visit_BitwiseLeftShift(self, op: Any, *, left: Any, right: Any) -> Any:  # noqa: ARG002, N802
            return self.f.anon.shiftleft(left, self.cast(right, dt.int32))

        def visit_BitOr(self, op: Any, *, arg: Any, where: Any) -> Any:  # noqa: ARG002, N802
            return self.agg.bit_or(arg, where=where)

        def visit_TimestampDelta(self, op: Any, *, part: Any, left: Any, right: Any) -> Any:  # noqa: N802
            if part.this != "microsecond":
                return super().visit_TimestampDelta(op, part=part, left=left, right=right)
            return self._micros(left) - self._micros(right)

        def visit_TimestampTruncate(self, op: Any, *, arg: Any, unit: Any) -> Any:  # noqa: N802
            return self.cast(super().visit_TimestampTruncate(op, arg=arg, unit=unit), op.dtype)

        def visit_StringFind(  # noqa: N802
            self, op: Any, *, arg: Any, substr: Any, start: Any, end: Any
        ) -> Any:
            # Ibis takes places for 64 bits wide already.
            place = super().visit_StringFind(op, arg=arg, substr=substr, start=start, end=end)
            return self.cast(place, op.dtype)

        def visit_HexDigest(self, op: Any, *, arg: Any, how: str) -> Any:  # noqa: N802
            return super().visit_HexDigest(op, arg=self.cast(arg, dt.binary), how=how)

        def visit_AggUDF(self, op: Any, *, where: Any, **arguments: Any) -> Any:  # noqa: N802
            name = op.__func_name__
            if name == "quantile_disc":
                value, shares = arguments.values()
                return self._quantiles(op.args[0].dtype, value, shares, where)
            self._admit(name)
            return super().visit_AggUDF(op, where=where, **arguments)

        def visit_ScalarUDF(self, op: Any, **arguments: Any) -> Any:  # noqa: N802
            self._admit(op.__func_name__)
            return super().visit_ScalarUDF(op, **arguments)

        def _admit(self, name: str) -> None:
            if name not in _FUNCTIONS:
                raise FeatureError(
                    f"the recipe calls {name}(), which Spark has not. Use engine='duckdb' for it."
                )

        def _micros(self, moment: Any) -> Any:
            return self.f.anon.unix_micros(self.f.anon.to_timestamp_ltz(moment))

        def _quantiles(self, dtype: Any, value: Any, shares: Any, where: Any) -> Any:
            if where is not None:
                value = self.if_(where, value, sge.Null())
            if dtype.is_floating():
                ordered = sge.Order(expressions=[sge.Ordered(this=value, nulls_first=True)])
                return sge.WithinGroup(this=self.f.anon.percentile_disc(shares), expression=ordered)
            # Spark's own is for numbers only. The list is bound to a name, so that it is sorted once.
            values, share = sge.to_identifier("vs"), sge.to_identifier("share")
            place = self.f.anon.ceil(share * self.f.anon.size(values))
            found = self.f.anon.get(
                values, self.cast(self.f.anon.greatest(place, sge.convert(1)) - 1, dt.int32)
            )
            each = self.f.anon.transform(shares, sge.Lambda(this=found, expressions=[share]))
            listed = self.f.anon.array(self.f.anon.sort_array(self.f.anon.collect_list(value)))
            lists = self.f.anon.transform(listed, sge.Lambda(this=each, expressions=[values]))
            return self.f.anon.element_at(lists, 1)

    return Compiler()
