# SPDX-License-Identifier: Apache-2.0
"""Everything that a caller expects of a datamart, from all places where it may be said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.inputs import Unsupported, load_contract, load_dbt_model, load_suite
from airflow_provider_mlbridge.quality.inputs.shorthands import Key, MaxAge, expand
from airflow_provider_mlbridge.quality.inputs.suite import parse_expectations

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True)
class Wanted:
    """
    What is expected.

    :param expectations: in this order: shorthands, ``expectations``, suite, contract, dbt model.
    :param name: of the suite, contract or model, the first there is.
    :param unsupported: constraints that no expectation stands for.
    """

    expectations: tuple[Expectation, ...]
    name: str | None
    unsupported: tuple[Unsupported, ...]


def collect(
    expectations: Sequence[object],
    *,
    schema: Mapping[str, str] | None,
    not_null: Sequence[str],
    unique: Sequence[Key],
    min_rows: int | None,
    max_age: MaxAge | None,
    suite: object,
    suite_context: object,
    contract: str | Mapping[str, Any] | None,
    contract_schema: str | None,
    dbt_manifest: str | Mapping[str, Any] | None,
    dbt_model: str | None,
    s3_client: S3Client | None,
) -> Wanted:
    """
    Read all of it; the arguments are those of :func:`~airflow_provider_mlbridge.quality.validate`.

    :raises ConfigurationError: when something is wrong, or nothing is expected.
    """
    found = expand(schema=schema, not_null=not_null, unique=unique, min_rows=min_rows, max_age=max_age)
    found += parse_expectations(expectations, "expectations")
    names: list[str] = []
    unsupported: list[Unsupported] = []
    if suite is not None:
        name, from_suite = load_suite(suite, s3_client=s3_client, context=suite_context)
        names.append(name)
        found += from_suite
    if contract is not None:
        imported = load_contract(contract, schema_name=contract_schema, s3_client=s3_client)
        names.append(imported.name)
        found += imported.expectations
        unsupported += imported.unsupported
    elif contract_schema is not None:
        raise ConfigurationError(f"contract_schema={contract_schema!r} needs contract")
    if (dbt_manifest is None) != (dbt_model is None):
        given = "dbt_model" if dbt_manifest is None else "dbt_manifest"
        raise ConfigurationError(
            f"{given} is given without the other: dbt_manifest and dbt_model go together"
        )
    if dbt_manifest is not None and dbt_model is not None:
        imported = load_dbt_model(dbt_manifest, dbt_model, s3_client=s3_client)
        names.append(imported.name)
        found += imported.expectations
        unsupported += imported.unsupported
    if not found:
        listed = "".join(f"\n  - {item}" for item in unsupported[:10])
        kept = f". What was imported holds only what cannot be judged:{listed}" if unsupported else ""
        raise ConfigurationError(
            "there is nothing to check: give expectations, a suite, a contract, a dbt model, schema, "
            f"not_null, unique, min_rows or max_age{kept}"
        )
    return Wanted(tuple(found), names[0] if names else None, tuple(unsupported))
