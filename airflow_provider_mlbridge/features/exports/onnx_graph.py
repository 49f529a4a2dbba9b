# SPDX-License-Identifier: Apache-2.0
"""
A fitted recipe as an ONNX graph, for the steps that the operators of ONNX can say.

Inputs are one tensor ``[rows, 1]`` for each column: DOUBLE, NaN where missing, for numbers and booleans;
STRING, :data:`MISSING_TEXT` where missing. The features come as one DOUBLE ``[rows, features]`` tensor,
NaN where missing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import MissingExtraError
from airflow_provider_mlbridge.features.exports.allowed import REFUSED, require
from airflow_provider_mlbridge.features.exports.onnx_expressions import compute, unknown_part
from airflow_provider_mlbridge.features.kinds import SCALAR
from airflow_provider_mlbridge.features.steps.scaling import _EPSILON, _cut

if TYPE_CHECKING:
    from onnx import ModelProto

    from airflow_provider_mlbridge.features.fitted import FittedRecipe
    from airflow_provider_mlbridge.features.plan import Operation
    from airflow_provider_mlbridge.features.steps.base import State

MISSING_TEXT = "\ue000missing"
"""What stands for a missing string; it begins with a private character, so that no text is it by chance."""

FEATURES = "mlbridge_features"
"""Name of the output."""

_OPSET, _ML_OPSET, _IR = 19, 4, 9


@dataclass
class Graph:
    """
    A graph that grows node by node; values are known by their names.

    :param prefix: what the names that are given here begin with, and no other does.
    :param nodes: the nodes so far.
    :param refused: booleans of the rows that policies refuse.
    """

    prefix: str = "mlbridge/"
    nodes: list[Any] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    _constants: dict[str, str] = field(default_factory=dict)
    _count: int = 0

    def add(self, operator: str, *inputs: str | float, domain: str = "", **attributes: Any) -> str:
        """The result of an operator; floats among the inputs are constants."""
        from onnx import helper

        names = [value if isinstance(value, str) else self.number(value) for value in inputs]
        name = self._name()
        self.nodes.append(helper.make_node(operator, names, [name], domain=domain, **attributes))
        return name

    def number(self, value: float) -> str:
        """A constant DOUBLE."""
        from onnx import TensorProto, helper

        return self._constant(repr(value), helper.make_tensor("value", TensorProto.DOUBLE, [], [value]))

    def text(self, value: str) -> str:
        """A constant STRING."""
        from onnx import TensorProto, helper

        values: list[Any] = [value.encode()]
        tensor = helper.make_tensor("value", TensorProto.STRING, [], values)
        return self._constant(f"text {value}", tensor)

    def _constant(self, key: str, tensor: Any) -> str:
        from onnx import helper

        if key not in self._constants:
            self._constants[key] = self._name()
            self.nodes.append(helper.make_node("Constant", [], [self._constants[key]], value=tensor))
        return self._constants[key]

    def _name(self) -> str:
        self._count += 1
        return f"{self.prefix}{self._count}"

    def where(self, condition: str, yes: str | float, no: str | float) -> str:
        """``yes`` where the condition holds, else ``no``."""
        return self.add("Where", condition, yes, no)

    def as_number(self, condition: str) -> str:
        """1.0 where true, else 0.0."""
        from onnx import TensorProto

        return self.add("Cast", condition, to=TensorProto.DOUBLE)

    def missing(self, value: str, kind: str) -> str:
        """Whether a value is missing."""
        if kind == "string":
            return self.add("Equal", value, self.text(MISSING_TEXT))
        return self.add("IsNaN", value)

    def found(self, value: str, kind: str, keys: Sequence[Any], values: Sequence[float], other: float) -> str:
        """The number that stands beside a value among the keys; ``other`` when it is none of them."""
        from onnx import TensorProto, helper

        if not keys:
            return self.add("Where", self.missing(value, kind), other, other)
        if kind == "string":
            known = helper.make_tensor("k", TensorProto.STRING, [len(keys)], [key.encode() for key in keys])
        else:
            known = helper.make_tensor(
                "k", TensorProto.DOUBLE, [len(keys)], [float(key) + 0.0 for key in keys]
            )
            value = self.add("Add", value, 0.0)  # -0.0 and 0.0 are one category
        return self.add(
            "LabelEncoder",
            value,
            domain="ai.onnx.ml",
            keys_tensor=known,
            values_tensor=helper.make_tensor("v", TensorProto.DOUBLE, [len(keys)], list(values)),
            default_tensor=helper.make_tensor("d", TensorProto.DOUBLE, [1], [other]),
        )

    def refuse(self, condition: str) -> None:
        """Mark rows as refused."""
        self.refused.append(condition)


def to_onnx(fitted: FittedRecipe) -> ModelProto:
    """See :meth:`FittedRecipe.to_onnx`."""
    try:
        from onnx import TensorProto, checker, helper
    except ImportError as error:
        raise MissingExtraError(
            f"the ONNX export needs a package that is not installed ({error.name}): "
            f"pip install 'airflow-provider-mlbridge[onnx]'"
        ) from error
    texts = [feature.name for feature in fitted.features if feature.kind == "string"]
    also = [f"the feature {name!r}: it is a text, and features are numbers in ONNX" for name in texts]
    taken = [name for name in (FEATURES, REFUSED) if name in fitted.inputs]
    also += [f"the column {name!r}: no input can have this name" for name in taken]
    require(fitted, "ONNX", _reason, steps=ALLOWED, also=also)
    graph = Graph(_prefix(fitted.inputs))
    values = {name: name for name in fitted.inputs}
    for operation, state in zip(fitted.operations, fitted.states, strict=True):
        inputs = [values[name] for name in operation.columns]
        results = _MAKERS[operation.step.TYPE](graph, operation, state, inputs)
        values.update(zip((name for name, _ in operation.outputs(state)), results, strict=True))
    features = [values[name] for name in fitted.feature_names]
    graph.nodes.append(helper.make_node("Concat", features, [FEATURES], axis=1))
    outputs = [helper.make_tensor_value_info(FEATURES, TensorProto.DOUBLE, ["rows", len(features)])]
    if graph.refused:
        together = reduce(lambda left, right: graph.add("Or", left, right), graph.refused)
        graph.nodes.append(helper.make_node("Identity", [together], [REFUSED]))
        outputs.append(helper.make_tensor_value_info(REFUSED, TensorProto.BOOL, ["rows", 1]))
    types = {
        name: TensorProto.STRING if kind == "string" else TensorProto.DOUBLE
        for name, kind in fitted.inputs.items()
    }
    inputs_info = [helper.make_tensor_value_info(name, kind, ["rows", 1]) for name, kind in types.items()]
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", _ML_OPSET)]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "features", inputs_info, outputs),
        opset_imports=opsets,
        ir_version=_IR,
        producer_name="airflow-provider-mlbridge",
    )
    described = {"feature_names": json.dumps(fitted.feature_names), "missing_text": MISSING_TEXT}
    helper.set_model_props(model, described)
    checker.check_model(model)
    return model


def _prefix(inputs: Iterable[str]) -> str:
    """What the name of no input begins with."""
    prefix = "mlbridge/"
    while any(name.startswith(prefix) for name in inputs):
        prefix += "/"
    return prefix


def _reason(operation: Operation, state: State) -> str | None:  # noqa: ARG001 - as for other forms
    """Why an operation cannot be exported."""
    step: Any = operation.step
    if step.HISTORY:
        return "it looks at other rows"
    if step.TYPE not in _MAKERS:
        return "ONNX has no operators for it"
    kinds = (operation.kind, *operation.reads.values())
    if any(kind in ("date", "timestamp") for kind in kinds):
        return "ONNX has no dates"
    if step.TYPE in ("expression", "interaction"):
        if step.to_dict().get("invalid") == "error":
            return 'ONNX cannot tell invalid from missing, which invalid="error" asks for'
        if any(kind not in SCALAR for kind in kinds):
            return "in expressions only numbers and booleans are known"
        parts = [unknown_part(node) for _, _, node in step.results(operation.kind)]
        return next((f"{part} is not known" for part in parts if part is not None), None)
    return None


def _impute(graph: Graph, operation: Operation, state: State, inputs: Sequence[str]) -> list[str]:
    (value,) = inputs
    missing = graph.missing(value, operation.kind)
    fill = graph.text(state["value"]) if operation.kind == "string" else float(state["value"])
    filled = graph.where(missing, fill, value)
    indicator = getattr(operation.step, "indicator", False)
    return [filled, graph.as_number(missing)] if indicator else [filled]


def _clip(graph: Graph, operation: Operation, state: State, inputs: Sequence[str]) -> list[str]:  # noqa: ARG001
    (value,) = inputs
    result = value
    if state["upper"] is not None:
        result = graph.where(graph.add("Greater", value, state["upper"]), state["upper"], result)
    if state["lower"] is not None:
        result = graph.where(graph.add("Less", value, state["lower"]), state["lower"], result)
    return [graph.add("Identity", result)]


def log1p(graph: Graph, value: str) -> str:
    """ln(1 + x), as the step ``log1p`` computes it; NaN below -1."""
    rounded = graph.add("Add", value, 1.0)
    logarithm = graph.add("Log", rounded)
    small = graph.add("Mul", logarithm, graph.add("Div", value, graph.add("Sub", rounded, 1.0)))
    either = graph.where(graph.add("Greater", value, 1.0), logarithm, small)
    return graph.where(graph.add("Equal", rounded, 1.0), value, either)


def _log1p(graph: Graph, operation: Operation, state: State, inputs: Sequence[str]) -> list[str]:  # noqa: ARG001
    (value,) = inputs
    invalid = graph.add("LessOrEqual", value, -1.0)
    if getattr(operation.step, "invalid", None) == "error":
        graph.refuse(invalid)
    return [graph.where(invalid, math.nan, log1p(graph, value))]


def _scaled(centre: str, scale: str) -> Callable[..., list[str]]:
    def make(graph: Graph, operation: Operation, state: State, inputs: Sequence[str]) -> list[str]:  # noqa: ARG001
        return [graph.add("Div", graph.add("Sub", inputs[0], state[centre]), state[scale])]

    return make


def _min_max(graph: Graph, operation: Operation, state: State, inputs: Sequence[str]) -> list[str]:
    step: Any = operation.step
    unit = graph.add("Div", graph.add("Sub", inputs[0], state["minimum"]), state["range"])
    return [graph.add("Add", graph.add("Mul", unit, step.high - step.low), step.low)]


def _yeo_johnson(graph: Graph, operation: Operation, state: State, inputs: Sequence[str]) -> list[str]:  # noqa: ARG001
    (value,) = inputs
    magnitude = graph.add("Abs", value)
    logarithm = log1p(graph, magnitude)
    positive = _side(graph, magnitude, logarithm, state["lambda"])
    negative = graph.add("Neg", _side(graph, magnitude, logarithm, 2.0 - state["lambda"]))
    powered = graph.where(graph.add("Less", value, 0.0), negative, positive)
    return [graph.add("Div", graph.add("Sub", powered, state["mean"]), state["scale"])]


def _side(graph: Graph, magnitude: str, logarithm: str, power: float) -> str:
    """One side of zero, in the operations of :mod:`~..steps.scaling`."""
    if power == 1.0:
        return magnitude
    if abs(power) < _EPSILON:
        return logarithm
    t = graph.add("Mul", logarithm, power)
    grown = graph.add("Exp", t)
    difference = graph.add("Sub", grown, 1.0)
    large = graph.add("Div", difference, power)
    exact = graph.add("Mul", difference, graph.add("Div", t, graph.add("Log", grown)))
    small = graph.where(graph.add("Equal", grown, 1.0), logarithm, graph.add("Div", exact, power))
    return graph.where(graph.add("GreaterOrEqual", magnitude, _cut(power)), large, small)


def _policies(graph: Graph, operation: Operation, value: str, categories: Sequence[Any]) -> None:
    step: Any = operation.step
    missing = graph.missing(value, operation.kind)
    if step.missing == "error":
        graph.refuse(missing)
    if step.unknown == "error":
        known = graph.found(value, operation.kind, categories, [1.0] * len(categories), 0.0)
        graph.refuse(graph.add("And", graph.add("Not", missing), graph.add("Equal", known, 0.0)))


def _one_hot(graph: Graph, operation: Operation, state: State, inputs: Sequence[str]) -> list[str]:
    step: Any = operation.step
    (value,), categories, kind = inputs, state["categories"], operation.kind
    _policies(graph, operation, value, categories)
    place = graph.found(value, kind, categories, [float(place) for place in range(len(categories))], -1.0)
    results = [graph.as_number(graph.add("Equal", place, float(index))) for index in range(len(categories))]
    missing = graph.missing(value, kind)
    if step.unknown == "other":
        none = graph.add("And", graph.add("Not", missing), graph.add("Equal", place, -1.0))
        results.append(graph.as_number(none))
    return [*results, graph.as_number(missing)] if step.missing == "category" else results


def _looked_up(graph: Graph, operation: Operation, state: State, inputs: Sequence[str]) -> list[str]:
    """A step that gives each category a number."""
    step: Any = operation.step
    (value,), categories = inputs, state["categories"]
    _policies(graph, operation, value, categories)
    lenient = replace(
        step,
        unknown="ignore" if step.unknown == "error" else step.unknown,
        missing="ignore" if step.missing == "error" else step.missing,
    )
    function = lenient.row_function(operation.where, operation.kind, state)
    # An object that is equal to nothing is an unknown category.
    numbers = [function(item)[0] for item in (*categories, None, object())]
    *values, missing, unknown = (math.nan if number is None else float(number) for number in numbers)
    found = graph.found(value, operation.kind, categories, values, unknown)
    return [graph.where(graph.missing(value, operation.kind), missing, found)]


def _place(graph: Graph, value: str, inner_edges: Sequence[float]) -> str:
    places = [graph.as_number(graph.add("GreaterOrEqual", value, edge)) for edge in inner_edges]
    total = reduce(lambda left, right: graph.add("Add", left, right), places) if places else graph.number(0.0)
    return graph.where(graph.add("IsNaN", value), math.nan, total)


def _quantile_bins(graph: Graph, operation: Operation, state: State, inputs: Sequence[str]) -> list[str]:  # noqa: ARG001
    return [_place(graph, inputs[0], state["inner_edges"])]


def _bins(graph: Graph, operation: Operation, state: State, inputs: Sequence[str]) -> list[str]:  # noqa: ARG001
    step: Any = operation.step
    (value,), (low, *inner, high) = inputs, step.edges
    place = _place(graph, value, inner)
    if step.out_of_range == "clip":
        return [place]
    outside = graph.add("Or", graph.add("Less", value, low), graph.add("Greater", value, high))
    if step.out_of_range == "error":
        graph.refuse(outside)
    return [graph.where(outside, math.nan, place)]


def _cyclical(graph: Graph, operation: Operation, state: State, inputs: Sequence[str]) -> list[str]:  # noqa: ARG001
    step: Any = operation.step
    infinite = graph.add("IsInf", inputs[0])
    if step.invalid == "error":
        graph.refuse(infinite)
    finite = graph.where(infinite, math.nan, inputs[0])
    rest = graph.add("Mod", finite, step.period, fmod=1)
    angle = graph.add("Mul", rest, 2 * math.pi / step.period)
    return [graph.add("Sin", angle), graph.add("Cos", angle)]


def _computed(graph: Graph, operation: Operation, state: State, inputs: Sequence[str]) -> list[str]:  # noqa: ARG001
    step: Any = operation.step
    columns = dict(zip(operation.columns, inputs, strict=True))
    return [compute(graph, node, columns, kind) for _, kind, node in step.results(operation.kind)]


_MAKERS: dict[str, Callable[[Graph, Operation, State, Sequence[str]], list[str]]] = {
    "impute": _impute,
    "clip": _clip,
    "log1p": _log1p,
    "standard": _scaled("mean", "scale"),
    "min_max": _min_max,
    "robust": _scaled("center", "scale"),
    "yeo_johnson": _yeo_johnson,
    "one_hot": _one_hot,
    "ordinal": _looked_up,
    "frequency": _looked_up,
    "target": _looked_up,
    "quantile_bins": _quantile_bins,
    "bins": _bins,
    "cyclical": _cyclical,
    "passthrough": lambda graph, operation, state, inputs: list(inputs),  # noqa: ARG005 - as the others
    "expression": _computed,
    "interaction": _computed,
}

ALLOWED = frozenset(_MAKERS)
