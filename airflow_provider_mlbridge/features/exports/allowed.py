# SPDX-License-Identifier: Apache-2.0
"""What the forms have in common: refusing what they do not know, and marking what policies refuse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from airflow_provider_mlbridge.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow_provider_mlbridge.features.fitted import FittedRecipe
    from airflow_provider_mlbridge.features.plan import Operation
    from airflow_provider_mlbridge.features.steps.base import State

REFUSED = "mlbridge_refused"
"""
Name of the result that is true for rows which a transform refuses.

A query and a graph cannot raise the error of a policy such as ``unknown="error"``, so they say so.
"""

_SHOWN = 10


def require(
    fitted: FittedRecipe,
    form: str,
    known: Callable[[Operation, State], str | None],
    *,
    steps: frozenset[str],
    also: Sequence[str] = (),
) -> None:
    """
    Refuse a recipe with steps that a form does not know.

    :param form: name of the form, for the message.
    :param known: the reason why an operation with this state cannot be exported, or None.
    :param steps: the steps that can be, for the message.
    :param also: what else stands in the way.
    :raises ConfigurationError: naming each such step and the reason.
    """
    pairs = zip(fitted.operations, fitted.states, strict=True)
    reasons = [(operation.where, known(operation, state)) for operation, state in pairs]
    found = [f"{where}: {reason}" for where, reason in reasons if reason is not None]
    found += also
    if REFUSED in (*fitted.feature_names, *fitted.recipe.keys):
        found.append(f"the column {REFUSED!r}: the name is taken by the export")
    if not found:
        return
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    raise ConfigurationError(
        f"recipe {fitted.recipe.name!r} cannot be exported to {form}: {'; '.join(found[:_SHOWN])}{more}. "
        f"Steps that can be: {', '.join(sorted(steps))}. Leave the others out, or serve with transform_row()."
    )
