# SPDX-License-Identifier: Apache-2.0
"""``service.yaml``: who may call, what may be started, and how much of it at once."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from mlbridge_training_service.parameters import Parameter, ParameterName, check_template

ANY_MODEL_TYPE = "*"

_PipelineName = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class ConfigError(Exception):
    """``service.yaml`` is not usable; the message says which line and why."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TokenAuth(_Section):
    """
    Bearer token, from exactly one place.

    :param token_env: environment variable that holds it; trainings do not see this variable.
    :param token_file: file that holds it.
    """

    token_env: str | None = None
    token_file: Path | None = None

    @model_validator(mode="after")
    def _one_place(self) -> TokenAuth:
        if (self.token_env is None) == (self.token_file is None):
            raise ValueError("name exactly one of token_env and token_file")
        return self


class Pipeline(_Section):
    """
    A training program of this host.

    :param command: the program and its arguments; no shell reads it. The request is in its environment.
    :param parameters: what the request's ``params`` may hold; ``{name}`` as an element of the command stands
        for the value. None: they may hold anything, and the command is taken as it is.
    :param working_dir: directory to start in; a fresh one per job when None.
    :param environment: extra variables.
    :param model_types: values of ``model_type`` that choose this pipeline; ``*`` takes all others.
    :param timeout_seconds: the longest that one training may run, whatever the request says.
    """

    command: Annotated[list[str], Field(min_length=1)]
    parameters: dict[ParameterName, Parameter] | None = None
    working_dir: Path | None = None
    environment: dict[str, str] = Field(default_factory=dict)
    model_types: list[str] = Field(default_factory=list)
    timeout_seconds: Annotated[float | None, Field(gt=0)] = None

    @model_validator(mode="after")
    def _placeholders_have_values(self) -> Pipeline:
        if self.parameters is not None:
            check_template(self.command, self.parameters)
        return self


class ServiceConfig(_Section):
    """
    The whole file. Relative paths are relative to the file's directory.

    :param data_dir: database and job folders; on a file system with hard links.
    :param auth: where the token is, or the word ``none``. There is no default.
    :param pipelines: name to training program.
    :param concurrency: trainings that run at once; others wait in order of arrival.
    :param database_url: SQLAlchemy URL, for instance of PostgreSQL; SQLite in ``data_dir`` when None.
    :param database_url_env: environment variable that holds it instead; trainings do not see this variable.
    :param keep_days: how long a job, its log and its result are kept after its end; for ever when None.
        A success that was not acknowledged is kept longer, if its caller has an identity.
    :param grace_seconds: from TERM to KILL.
    :param retry_after_seconds: what callers are told to wait between two questions about a job.
    :param max_request_bytes: the largest request; it must fit into one environment variable (128 KiB).
    :param tls_certificate: PEM file, to serve HTTPS.
    :param tls_key: PEM file of its key.
    """

    data_dir: Path
    auth: TokenAuth | Literal["none"]
    pipelines: Annotated[dict[_PipelineName, Pipeline], Field(min_length=1)]
    concurrency: Annotated[int, Field(ge=1)] = 1
    database_url: str | None = None
    database_url_env: str | None = None
    keep_days: Annotated[float | None, Field(gt=0)] = 30.0
    grace_seconds: Annotated[float, Field(ge=0)] = 10.0
    retry_after_seconds: Annotated[int, Field(ge=1)] = 5
    max_request_bytes: Annotated[int, Field(ge=1024, le=120_000)] = 120_000
    tls_certificate: Path | None = None
    tls_key: Path | None = None

    @model_validator(mode="after")
    def _consistent(self) -> ServiceConfig:
        counts = Counter(kind for pipeline in self.pipelines.values() for kind in pipeline.model_types)
        repeated = sorted(kind for kind, count in counts.items() if count > 1)
        if repeated:
            raise ValueError(f"model_types {repeated} are claimed more than once; a caller could not choose")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key come together")
        if self.database_url is not None and self.database_url_env is not None:
            raise ValueError("name one of database_url and database_url_env")
        return self

    def pipeline_for(self, model_type: str | None, pipeline: str | None) -> str:
        """
        Name of the pipeline that a request means.

        :raises LookupError: with the valid choices, when it means none.
        """
        if pipeline is not None:
            if pipeline not in self.pipelines:
                raise LookupError(f"unknown pipeline {pipeline!r}; this host has {_listed(self.pipelines)}")
            valid = self.pipelines[pipeline].model_types
            if model_type is not None and valid and not {model_type, ANY_MODEL_TYPE} & set(valid):
                raise LookupError(
                    f"pipeline {pipeline!r} does not train model_type {model_type!r}; it has {_listed(valid)}"
                )
            return pipeline
        by_type = {kind: name for name, item in self.pipelines.items() for kind in item.model_types}
        if model_type is None:
            raise LookupError(
                f"the request must name a model_type ({_listed(by_type)}) or a pipeline "
                f"({_listed(self.pipelines)})"
            )
        name = by_type.get(model_type, by_type.get(ANY_MODEL_TYPE))
        if name is None:
            raise LookupError(
                f"no pipeline of this host trains model_type {model_type!r}; valid: {_listed(by_type)}"
            )
        return name

    def token(self) -> str | None:
        """
        The bearer token, or None when ``auth`` is ``none``.

        :raises ConfigError: when it is missing or empty.
        """
        if isinstance(self.auth, str):
            return None
        if self.auth.token_file is not None:
            try:
                token = self.auth.token_file.read_text(encoding="utf-8").strip()
            except OSError as error:
                raise ConfigError(f"auth.token_file {self.auth.token_file}: {error.strerror}") from error
            place = f"the file {self.auth.token_file}"
        else:
            token = os.environ.get(self.auth.token_env or "", "").strip()
            place = f"the environment variable {self.auth.token_env}"
        if not token:
            raise ConfigError(f"{place} (auth) holds no token")
        return token

    def database(self) -> str | None:
        """
        SQLAlchemy URL, or None for SQLite in ``data_dir``.

        :raises ConfigError: when its variable is missing or empty.
        """
        if self.database_url_env is None:
            return self.database_url
        url = os.environ.get(self.database_url_env, "").strip()
        if not url:
            raise ConfigError(
                f"the environment variable {self.database_url_env} (database_url_env) is not set"
            )
        return url

    def secret_variables(self) -> list[str]:
        """Environment variables of the service that trainings must not see."""
        token = self.auth.token_env if isinstance(self.auth, TokenAuth) else None
        return [name for name in (token, self.database_url_env) if name is not None]


def load_config(path: Path) -> ServiceConfig:
    """
    Read ``service.yaml``.

    :raises ConfigError: when it cannot be read or is not valid; every fault is listed.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path} must be a mapping with data_dir, auth and pipelines")
    if document.get("auth") is None:
        raise ConfigError(
            f"{path}: auth is missing. Write 'auth: {{token_env: NAME}}' or 'auth: {{token_file: PATH}}'; "
            f"'auth: none' lets everybody who reaches the port start trainings."
        )
    try:
        config = ServiceConfig.model_validate(document)
    except ValidationError as error:
        faults = "\n".join(f"  {_place(item['loc'])}: {item['msg']}" for item in error.errors())
        raise ConfigError(f"{path} is not valid:\n{faults}") from error
    return _absolute(config, path.resolve().parent)


def _absolute(config: ServiceConfig, base: Path) -> ServiceConfig:
    def below(path: Path | None) -> Path | None:
        return None if path is None else base / path.expanduser()

    update: dict[str, Any] = {
        "data_dir": below(config.data_dir),
        "tls_certificate": below(config.tls_certificate),
        "tls_key": below(config.tls_key),
        "pipelines": {
            name: pipeline.model_copy(update={"working_dir": below(pipeline.working_dir)})
            for name, pipeline in config.pipelines.items()
        },
    }
    if isinstance(config.auth, TokenAuth):
        update["auth"] = config.auth.model_copy(update={"token_file": below(config.auth.token_file)})
    return config.model_copy(update=update)


def _place(location: tuple[int | str, ...]) -> str:
    # Pydantic also names the alternatives that it tried, in brackets.
    return ".".join(str(part) for part in location if "[" not in str(part)) or "the file"


def _listed(names: Any) -> str:
    ordered = sorted(names)
    shown = ", ".join(ordered[:10])
    return (f"{shown} and {len(ordered) - 10} more" if len(ordered) > 10 else shown) or "none"
