# SPDX-License-Identifier: Apache-2.0
"""The recipe: what a feature set is made of, as Python objects and as YAML."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from airflow_provider_mlbridge.exceptions import InvalidRecipeError
from airflow_provider_mlbridge.features import options
from airflow_provider_mlbridge.features.allow import Allow, parse_allow
from airflow_provider_mlbridge.features.splits import HashSplit, Split, TimeSplit, parse_split
from airflow_provider_mlbridge.features.steps import Step, parse_step
from airflow_provider_mlbridge.features.steps.base import Roles

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from airflow_provider_mlbridge.features.fitted import FittedRecipe
    from airflow_provider_mlbridge.results import Snapshot

RECIPE_VERSION = 1
"""Version of the recipe's own format."""

Refit = Literal["always", "never"]
"""Which builds learn from their own data."""

SPLIT_COLUMN = "split"
"""Name of the output column that says train, validation or test."""


@dataclass(frozen=True)
class Recipe:
    """
    How features are made from a datamart.

    Steps run in order. A step works on the current value of its columns and replaces them, unless ``output``
    names its result or it makes new columns (one-hot columns, date parts, missing-value indicators). The
    features are the columns that steps have produced, in the order of their first appearance; a column that
    no step touches is none (``passthrough`` takes it as it is). ``one_hot`` and ``date_parts`` take their own
    column out of the features again; later steps may still use it.

    The output has the keys, the label, ``split`` and the features. Rows without label stay, with a missing
    label; those in the training split are fitted on like all others, for no step here reads the label.

    :param name: what the feature set is called.
    :param steps: the steps, in order.
    :param keys: columns that identify a row; copied to the output, which is sorted by them. Without keys
        the output has the order of the datamart's files.
    :param label: what is to be predicted; copied to the output, never a feature.
    :param event_time: when the row happened; not a feature unless a step names it.
    :param split: which rows are learned from; None means all of them, see :mod:`~.splits`.
    :param known_time: when the values of the row were known, for steps that look at earlier rows; the event
        time when None.
    :param allow: what the linter finds and shall pass over, see :class:`~.allow.Allow`.
    :param refit: ``always`` when every build learns from its own data; ``never`` when the first build with
        this recipe does, and later ones take over what it has learned.
    :raises InvalidRecipeError: naming step, option and valid choices.
    """

    name: str
    steps: Sequence[Step]
    keys: Sequence[str] = ()
    label: str | None = None
    event_time: str | None = None
    split: Split | None = None
    known_time: str | None = None
    allow: Sequence[Allow] = ()
    refit: Refit = "always"

    def __post_init__(self) -> None:
        options.text("recipe", "name", self.name)
        object.__setattr__(self, "keys", options.texts("recipe", "keys", self.keys))
        for name in ("label", "event_time", "known_time"):
            if getattr(self, name) is not None:
                options.text("recipe", name, getattr(self, name))
        if self.label is not None and self.label in self.keys:
            raise InvalidRecipeError(f"recipe: {self.label!r} is both label and key")
        if isinstance(self.steps, str | Mapping) or not isinstance(self.steps, Sequence) or not self.steps:
            raise InvalidRecipeError(f"recipe: steps={self.steps!r} must be a list of at least one step")
        steps = []
        for position, step in enumerate(self.steps, start=1):
            try:
                steps.append(parse_step(step))
            except InvalidRecipeError as error:
                raise InvalidRecipeError(f"step {position}: {error}") from error
        object.__setattr__(self, "steps", tuple(steps))
        object.__setattr__(self, "split", parse_split(self.split))
        object.__setattr__(self, "allow", parse_allow(self.allow))
        options.choice("recipe", "refit", self.refit, get_args(Refit))
        split = self.resolved_split()
        if split is not None and self.label in split.columns():
            raise InvalidRecipeError(
                f"split by {split.BY}: {self.label!r} is the label; rows that are shared out by it differ in "
                f"what is to be predicted, so the split (and the folds that target encoding learns in) would "
                f"tell the answer. Split by other columns"
            )

    def resolved_split(self) -> Split | None:
        """The split with the recipe's keys or event time filled in where it names none."""
        split = self.split
        if isinstance(split, HashSplit) and not split.keys:
            if not self.keys:
                raise InvalidRecipeError("split by hash: give keys there, or keys of the recipe")
            return replace(split, keys=self.keys)
        if isinstance(split, TimeSplit) and not split.column:
            if not self.event_time:
                raise InvalidRecipeError("split by time: give column there, or event_time of the recipe")
            return replace(split, column=self.event_time)
        return split

    @property
    def roles(self) -> Roles:
        """What its columns mean."""
        return Roles(tuple(self.keys), self.label, self.event_time, self.known_time)

    @property
    def columns_by_role(self) -> dict[str, tuple[str, ...]]:
        """Columns by the role that a :class:`~.selectors.Selector` asks for."""
        split = self.resolved_split()
        return {
            "key": tuple(self.keys),
            "event_time": (self.event_time,) if self.event_time else (),
            "known_time": (self.known_time,) if self.known_time else (),
            "split": tuple(split.columns()) if split else (),
        }

    @property
    def hash(self) -> str:
        """sha256 (hex) of the canonical JSON: equal for recipes that mean the same."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON with ``version`` first; what is at its default is left out."""
        document: dict[str, Any] = {"version": RECIPE_VERSION, "name": self.name}
        if self.keys:
            document["keys"] = list(self.keys)
        if self.label is not None:
            document["label"] = self.label
        for role in ("event_time", "known_time"):
            if getattr(self, role) is not None:
                document[role] = getattr(self, role)
        if self.split is not None:
            document["split"] = self.split.to_dict()
        document["steps"] = [step.to_dict() for step in self.steps]
        if self.allow:
            document["allow"] = [item.to_dict() for item in self.allow]
        if self.refit != "always":
            document["refit"] = self.refit
        return document

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Recipe:
        """
        Read what :meth:`to_dict` wrote.

        :raises InvalidRecipeError: for anything else, and for a recipe of a newer version.
        """
        if not isinstance(document, Mapping):
            raise InvalidRecipeError(f"a recipe is a mapping, got {type(document).__name__}")
        version = document.get("version", RECIPE_VERSION)
        if isinstance(version, bool) or not isinstance(version, int) or version < 1:
            raise InvalidRecipeError(f"recipe: version={version!r} must be an integer from 1")
        if version > RECIPE_VERSION:
            raise InvalidRecipeError(
                f"the recipe has version {version}, this provider knows versions up to {RECIPE_VERSION}. "
                f"Upgrade airflow-provider-mlbridge here, or write the recipe for the older version."
            )
        names = [item.name for item in fields(cls)]
        options.known_keys("recipe", document, ["version", *names])
        for name in ("name", "steps"):
            if name not in document:
                raise InvalidRecipeError(f"recipe: {name!r} is missing")
        return cls(**{key: value for key, value in document.items() if key != "version"})

    def to_yaml(self) -> str:
        """The recipe as YAML; :meth:`from_yaml` of it is an equal recipe."""
        from airflow_provider_mlbridge.features.recipe_yaml import dump_yaml

        return dump_yaml(self.to_dict())

    @classmethod
    def from_yaml(cls, source: str | Path) -> Recipe:
        """
        Read a recipe.

        :param source: YAML text (anything with a line break in it), or the path of a file.
        :raises InvalidRecipeError: when it is no YAML, or not a recipe.
        """
        if isinstance(source, str) and "\n" in source:
            return cls._from_text(source, "recipe")
        try:
            content = Path(source).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise InvalidRecipeError(f"the recipe {str(source)!r} cannot be read: {error}") from error
        return cls._from_text(content, str(source))

    @classmethod
    def _from_text(cls, content: str, where: str) -> Recipe:
        from airflow_provider_mlbridge.features.recipe_yaml import load_yaml

        try:
            return cls.from_dict(load_yaml(content))
        except InvalidRecipeError as error:
            raise InvalidRecipeError(f"{where}: {error}") from error

    @classmethod
    def load(
        cls, source: Recipe | Mapping[str, Any] | str | Path, *, s3_client: S3Client | None = None
    ) -> Recipe:
        """
        A recipe from whatever users hand over: a recipe, its mapping, a path, or a URI of a YAML file.

        :raises InvalidRecipeError: when it is none of these, or not well formed.
        """
        if isinstance(source, Recipe):
            return source
        if isinstance(source, Mapping):
            return cls.from_dict(source)
        if isinstance(source, str) and source.startswith(("s3://", "file://")):
            from airflow_provider_mlbridge.storage import open_store

            content = open_store(source, s3_client=s3_client).read(source)
            try:
                return cls._from_text(content.decode("utf-8"), source)
            except UnicodeDecodeError as error:
                raise InvalidRecipeError(f"{source} is not UTF-8 text: {error}") from error
        if isinstance(source, str | Path):
            return cls.from_yaml(source)
        raise InvalidRecipeError(
            f"recipe must be a Recipe, a mapping or the path of a YAML file, got {type(source).__name__}"
        )

    def fit(
        self,
        datamart: str | Path | Mapping[str, Any] | Snapshot,
        *,
        s3_client: S3Client | None = None,
        memory_limit: str = "2GB",
        threads: int | None = None,
        scratch_dir: str | Path | None = None,
        scratch_limit_bytes: int | None = None,
        engine: str = "duckdb",
        spark: Any = None,
    ) -> FittedRecipe:
        """
        Learn from the training split.

        :param datamart: URI or path of the Parquet data, or a snapshot of it.
        :param s3_client: boto3 S3 client for ``s3://`` URIs.
        :param memory_limit: memory, for example ``"2GB"``. The engine gets half of it for its buffers and
            spills to disk beyond that; a process has more to hold than those.
        :param threads: threads of the engine; all cores when None. The result does not depend on it.
        :param scratch_dir: folder for downloads and spilled data; the system's when None.
        :param scratch_limit_bytes: the most that may be put there.
        :param engine: ``duckdb``, in this process, or ``spark`` (extra ``spark``); see the guide on Spark.
        :param spark: with ``engine="spark"``, a session of Spark or the URL of Spark Connect or of a master,
            see :func:`~.engines.spark.open_spark_session`. ``memory_limit`` and ``threads`` are DuckDB's.
        :raises ColumnNotFoundError: when a step names a column that is not there.
        :raises InvalidRecipeError: when a step does not fit its column's type.
        :raises FitError: when there is nothing to learn from.
        """
        from airflow_provider_mlbridge.features.engines import open_engine
        from airflow_provider_mlbridge.features.fitting import fit_session

        with open_engine(
            datamart,
            engine=engine,
            spark=spark,
            s3_client=s3_client,
            memory_limit=memory_limit,
            threads=threads,
            scratch_dir=scratch_dir,
            scratch_limit_bytes=scratch_limit_bytes,
        ) as session:
            return fit_session(session, self)
