# SPDX-License-Identifier: Apache-2.0
"""
Every error that this package raises on purpose.

::

    MLBridgeError
    ├── ConfigurationError (ValueError)
    │   ├── InvalidExpectationError
    │   ├── InvalidRecipeError
    │   └── InvalidTrainingRequestError
    ├── MissingExtraError (ImportError)
    ├── StorageError
    │   ├── DatasetNotFoundError (FileNotFoundError)
    │   ├── DatasetEmptyError
    │   ├── DatasetIncompleteError
    │   ├── InvalidParquetError
    │   ├── InvalidManifestError
    │   ├── SnapshotChangedError
    │   ├── ScratchLimitError
    │   ├── PublishConflictError
    │   ├── StorageAccessError (PermissionError)
    │   └── StorageUnavailableError (ConnectionError)
    ├── QualityError
    │   ├── DataQualityFailedError
    │   └── ExpectationNotCheckedError
    ├── FeatureError
    │   ├── ColumnNotFoundError (LookupError)
    │   ├── FitError
    │   ├── FeatureValueError (ValueError)
    │   ├── LeakageError
    │   └── DriftError
    └── TrainingError
        ├── TrainingConflictError
        ├── TrainingForgottenError
        ├── TrainingFailedError
        │   ├── TrainingCancelledError
        │   ├── TrainingTimedOutError (TimeoutError)
        │   └── TrainingLostError
        ├── InvalidTrainingResultError
        ├── TrainingMetricsError
        ├── InvalidEventError
        ├── BackendUnreachableError (ConnectionError)
        ├── BackendAuthenticationError (PermissionError)
        ├── BackendRefusedError
        ├── HostKeyError (PermissionError)
        └── BackendProtocolError

Each class states in ``retryable`` whether running the same task again, with nothing else changed, can
help. The operators fail a task at once, without using up its retries, when it cannot.
"""

from __future__ import annotations

from typing import ClassVar


class MLBridgeError(Exception):
    """Base of all errors of this package."""

    retryable: ClassVar[bool] = False


class ConfigurationError(MLBridgeError, ValueError):
    """An argument is wrong; the message names it, what was given and what is valid. Fix the DAG."""


class InvalidExpectationError(ConfigurationError):
    """An expectation has an unknown type, an unknown argument or a value that makes no sense."""


class InvalidRecipeError(ConfigurationError):
    """A feature recipe is not well formed; the message names the step, the column and the valid choices."""


class InvalidTrainingRequestError(ConfigurationError):
    """A training request cannot be sent as it is (too large, not JSON, an empty command)."""


class MissingExtraError(MLBridgeError, ImportError):
    """A feature needs an optional dependency; the message is the ``pip install`` line that brings it."""


class StorageError(MLBridgeError):
    """Base of everything that concerns datasets in S3 or on disk."""


class DatasetNotFoundError(StorageError, FileNotFoundError):
    """Nothing is stored at the URI. A retry helps when the producer is merely late."""

    retryable = True


class DatasetEmptyError(StorageError):
    """The URI exists but holds no Parquet file, or no row. A retry helps when it is being written."""

    retryable = True


class DatasetIncompleteError(StorageError):
    """The dataset is being written: temporary files of a writer are present. A retry helps."""

    retryable = True


class InvalidParquetError(StorageError):
    """A file is truncated, corrupt or no Parquet at all."""


class InvalidManifestError(StorageError):
    """A published dataset has no manifest, or one that does not describe what is stored."""


class SnapshotChangedError(StorageError):
    """An object was replaced or removed after it was pinned. Run the chain again from the first task."""


class ScratchLimitError(StorageError):
    """A snapshot is larger than the scratch space it may use."""


class PublishConflictError(StorageError):
    """Another writer published to the same place first; nothing of it was overwritten. A retry helps."""

    retryable = True


class StorageAccessError(StorageError, PermissionError):
    """The store refused: wrong credentials or a missing permission."""


class StorageUnavailableError(StorageError, ConnectionError):
    """The store could not be reached, or answered with a passing fault. A retry helps."""

    retryable = True


class QualityError(MLBridgeError):
    """Base of everything that concerns datamart quality."""


class DataQualityFailedError(QualityError):
    """The datamart broke expectations that ``fail_on`` makes fatal."""


class ExpectationNotCheckedError(QualityError):
    """At least one expectation could not be evaluated. That is never a pass."""


class FeatureError(MLBridgeError):
    """Base of everything that concerns feature builds."""


class ColumnNotFoundError(FeatureError, LookupError):
    """A recipe names a column that the datamart does not have."""


class FitError(FeatureError):
    """A step cannot be fitted on the training split (no rows, no values, a constant label)."""


class FeatureValueError(FeatureError, ValueError):
    """A value breaks the policy of a step, for example an unknown category with ``unknown="error"``."""


class LeakageError(FeatureError):
    """A recipe makes features of columns that a model should not learn from."""


class DriftError(FeatureError):
    """Features drifted from their reference, or could not be compared, and that is not accepted."""


class TrainingError(MLBridgeError):
    """Base of everything that concerns training jobs."""


class TrainingConflictError(TrainingError):
    """The same training key is in use with a different request."""


class TrainingForgottenError(TrainingError):
    """The training's side knows nothing of a training that it had started, and which may still run."""


class TrainingFailedError(TrainingError):
    """The training ended without success. A retry starts it again, as a new generation."""

    retryable = True


class TrainingCancelledError(TrainingFailedError):
    """The training was cancelled."""


class TrainingTimedOutError(TrainingFailedError, TimeoutError):
    """The training ran longer than its ``timeout`` and was stopped."""


class TrainingLostError(TrainingFailedError):
    """The training process is gone without having reported an end (killed, out of memory, host restarted)."""


class InvalidTrainingResultError(TrainingError):
    """The training succeeded, but what it reported as its result is not readable."""


class TrainingMetricsError(TrainingError):
    """The training succeeded, but a metric is below what was asked for, or missing."""


class InvalidEventError(TrainingError):
    """The trigger sent an event that this version does not understand."""


class BackendUnreachableError(TrainingError, ConnectionError):
    """The training host, service or Airflow cannot be reached. A job is left alone; a retry attaches."""

    retryable = True


class BackendAuthenticationError(TrainingError, PermissionError):
    """The training host or service refused the credentials of the connection."""


class BackendRefusedError(TrainingError):
    """The training host cannot take the job now: disk full, folder not writable, no hard links."""

    retryable = True


class HostKeyError(TrainingError, PermissionError):
    """The host key of the training host is unknown or is not the expected one."""


class BackendProtocolError(TrainingError):
    """The training host or service answered something that is not in the contract."""
