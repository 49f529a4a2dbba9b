# SPDX-License-Identifier: Apache-2.0
"""
Seventeen expectations on the datamart of orders, as a data team writes them, in Great Expectations' own JSON.

Every column that is named is also one whose values somebody must look at, so that "the needed columns" are
the same for all contestants and for the floors. None of them is a decimal or a date: pandas holds those as
Python objects, which would slow Great Expectations down for a reason that is not its own.
"""

from __future__ import annotations

from typing import Any

COLUMNS = (
    "order_line_id",
    "order_id",
    "line_number",
    "ordered_at",
    "shipped_at",
    "status",
    "currency",
    "quantity",
    "unit_price",
    "discount_pct",
    "net_amount",
    "email",
    "product_name",
)
"""The needed columns."""

EMAIL = r"^[a-z]+\.[a-z]+[0-9]*@[a-z]+(\.[a-z]+)+$"

Suite = dict[str, Any]


def suite(rows: int) -> Suite:
    """The suite for a datamart that should have about so many rows."""
    return {
        "name": "orders",
        "expectations": [
            _expect(
                "row_count",
                "expect_table_row_count_to_be_between",
                min_value=rows * 9 // 10,
                max_value=rows * 2,
            ),
            _expect(
                "columns",
                "expect_table_columns_to_match_set",
                column_set=list(COLUMNS),
                exact_match=False,
            ),
            # The first name is pandas', the second DuckDB's.
            _expect(
                "id_type",
                "expect_column_values_to_be_in_type_list",
                column="order_line_id",
                type_list=["int64", "BIGINT"],
            ),
            _expect("id_not_null", "expect_column_values_to_not_be_null", column="order_line_id"),
            _expect("order_not_null", "expect_column_values_to_not_be_null", column="order_id"),
            _expect("amount_not_null", "expect_column_values_to_not_be_null", column="net_amount"),
            _expect("id_unique", "expect_column_values_to_be_unique", column="order_line_id"),
            _expect(
                "line_unique", "expect_compound_columns_to_be_unique", column_list=["order_id", "line_number"]
            ),
            _expect(
                "quantity_range",
                "expect_column_values_to_be_between",
                column="quantity",
                min_value=1,
                max_value=100,
            ),
            _expect(
                "price_range",
                "expect_column_values_to_be_between",
                column="unit_price",
                min_value=0,
                max_value=10_000,
                strict_min=True,
            ),
            _expect(
                "discount_range",
                "expect_column_values_to_be_between",
                column="discount_pct",
                min_value=0,
                max_value=0.5,
            ),
            _expect(
                "status_known",
                "expect_column_values_to_be_in_set",
                column="status",
                value_set=["placed", "paid", "packed", "shipped", "delivered", "returned", "cancelled"],
            ),
            _expect(
                "currency_known",
                "expect_column_values_to_be_in_set",
                column="currency",
                value_set=["EUR", "USD", "GBP", "CHF", "SEK", "PLN"],
            ),
            _expect("email_form", "expect_column_values_to_match_regex", column="email", regex=EMAIL),
            _expect(
                "name_length",
                "expect_column_value_lengths_to_be_between",
                column="product_name",
                min_value=3,
                max_value=60,
            ),
            _expect(
                "shipped_after_ordered",
                "expect_column_pair_values_a_to_be_greater_than_b",
                column_A="shipped_at",
                column_B="ordered_at",
                or_equal=True,
                ignore_row_if="either_value_is_missing",
            ),
            _expect(
                "amount_mean",
                "expect_column_mean_to_be_between",
                column="net_amount",
                min_value=50,
                max_value=2000,
            ),
        ],
    }


def _expect(identifier: str, expectation_type: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": expectation_type, "kwargs": kwargs, "meta": {"id": identifier}}
