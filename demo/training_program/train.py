# SPDX-License-Identifier: Apache-2.0
"""
Trains a classifier of delayed flights: the program of the training host.

It knows nothing of Airflow. What to do comes from the environment::

    MLBRIDGE_REQUEST                what to train: JSON with model_type, params, experiment_name
    MLBRIDGE_FEATURES_URI           prefix of one feature-set version
    MLBRIDGE_FEATURES_FINGERPRINT   which one it must be
    MLBRIDGE_RESULT_FILE            where to report: JSON with metrics, model_uri, extra
    MLBRIDGE_JOB_KEY                names the model's folder

Run as ``python train.py [--models FOLDER]``. Exit status 0 when the model is written and reported, 2 when the
request is wrong, 1 when the training failed. The last line of standard error says why.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from demo.training_program.feature_set import FeatureSetError, LoadedFeatures, Split, load_features
else:
    # The folder of a script is on Python's path, so this works from anywhere without an installation.
    from feature_set import FeatureSetError, LoadedFeatures, Split, load_features

_STARTED = time.monotonic()


class RequestError(ValueError):
    """The request cannot be carried out as it is."""


def say(text: str) -> None:
    """Print a line of progress at once."""
    print(f"[{time.monotonic() - _STARTED:6.1f} s] {text}", flush=True)


def build_model(model_type: str, params: Mapping[str, Any]) -> Any:
    """
    An unfitted scikit-learn classifier.

    :raises RequestError: for an unknown model type or parameter.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    kinds: dict[str, Any] = {
        "hist_gradient_boosting": HistGradientBoostingClassifier,
        "logistic_regression": LogisticRegression,
    }
    if model_type not in kinds:
        raise RequestError(
            f"unknown model_type {model_type!r}; this program trains {', '.join(sorted(kinds))}"
        )
    kind = kinds[model_type]
    valid = kind().get_params()
    unknown = sorted(set(params) - set(valid))
    if unknown:
        raise RequestError(f"{model_type} has no parameters {unknown}; valid are {', '.join(sorted(valid))}")
    # The same request gives the same model, unless it says otherwise.
    estimator = kind(**{"random_state": 0, **params})
    if model_type == "logistic_regression":
        return make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), estimator)
    return estimator


def evaluate(model: Any, split: Split) -> dict[str, float]:
    """Accuracy, area under the ROC curve, average precision, log loss, and the share of positives."""
    from sklearn.metrics import accuracy_score, average_precision_score, log_loss, roc_auc_score

    probability = model.predict_proba(split.features)[:, 1]
    metrics = {
        "accuracy": accuracy_score(split.labels, probability >= 0.5),
        "auc": roc_auc_score(split.labels, probability),
        "average_precision": average_precision_score(split.labels, probability),
        "log_loss": log_loss(split.labels, probability),
        "base_rate": split.labels.mean(),
    }
    return {name: round(float(value), 6) for name, value in metrics.items()}


def train(request: Mapping[str, Any], features: LoadedFeatures) -> tuple[Any, dict[str, float]]:
    """
    Fit on the training split, evaluate on the test split.

    :raises RequestError: when scikit-learn refuses the parameters.
    """
    model = build_model(str(request.get("model_type")), request.get("params") or {})
    rows = features.splits["train"]
    say(f"fitting {request.get('model_type')} on {len(rows.labels):,} rows x {len(features.names)} features")
    try:
        model.fit(rows.features, rows.labels)
    except ValueError as error:
        raise RequestError(f"scikit-learn refuses the request: {error}") from error
    metrics = evaluate(model, features.splits["test"])
    say("test split: " + ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
    return model, metrics


def write_model(folder: Path, model: Any, about: Mapping[str, Any]) -> Path:
    """Write the model and what is to be known about it; a reader sees both files or none."""
    import joblib  # type: ignore[import-untyped]

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unfinished-") as work:
        unfinished = Path(work) / "model"
        unfinished.mkdir()
        joblib.dump(model, unfinished / "model.joblib", compress=3)
        (unfinished / "model.json").write_text(json.dumps(about, indent=1) + "\n")
        unfinished.rename(folder)
    return folder / "model.joblib"


def read_request() -> dict[str, Any]:
    """
    The request from the environment.

    :raises RequestError: when a variable is missing or the request is not a JSON object.
    """
    names = (
        "MLBRIDGE_REQUEST",
        "MLBRIDGE_FEATURES_URI",
        "MLBRIDGE_FEATURES_FINGERPRINT",
        "MLBRIDGE_RESULT_FILE",
    )
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        raise RequestError(f"these variables are not set: {', '.join(missing)}")
    try:
        request = json.loads(os.environ["MLBRIDGE_REQUEST"])
    except ValueError as error:
        raise RequestError(f"MLBRIDGE_REQUEST is not JSON: {error}") from None
    if not isinstance(request, dict):
        raise RequestError("MLBRIDGE_REQUEST is not a JSON object")
    return request


def run(models: Path) -> None:
    """
    Train as asked, write the model, report.

    :raises RequestError: when the request is wrong.
    :raises FeatureSetError: when the features are not the ones that were asked for.
    """
    request = read_request()
    uri = os.environ["MLBRIDGE_FEATURES_URI"]
    fingerprint = os.environ["MLBRIDGE_FEATURES_FINGERPRINT"]
    build_model(str(request.get("model_type")), request.get("params") or {})  # refuse before the download
    say(f"reading {uri}")
    with tempfile.TemporaryDirectory() as scratch:
        features = load_features(uri, fingerprint, Path(scratch))
    rows = {name: len(split.labels) for name, split in features.splits.items()}
    say("rows: " + ", ".join(f"{name} {count:,}" for name, count in rows.items()))
    model, metrics = train(request, features)
    extra = {
        "rows": rows,
        "feature_count": len(features.names),
        "seconds": round(time.monotonic() - _STARTED, 2),
    }
    about = {
        "request": request,
        "features_uri": uri,
        "features_fingerprint": fingerprint,
        "features": features.names,
        "label": features.label,
        "metrics": metrics,
    }
    experiment = str(request.get("experiment_name") or "default").replace("/", "_")
    job = os.environ.get("MLBRIDGE_JOB_KEY") or "job"
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    path = write_model(models.resolve() / experiment / f"{stamp}-{job[:12]}-{os.getpid()}", model, about)
    say(f"model written to {path}")
    report = {"metrics": metrics, "model_uri": path.as_uri(), "extra": extra}
    Path(os.environ["MLBRIDGE_RESULT_FILE"]).write_text(json.dumps(report))


def main() -> int:
    """Run and give the exit status."""
    parser = argparse.ArgumentParser(description="Train a classifier of delayed flights.")
    parser.add_argument(
        "--models", type=Path, default=Path("models"), help="folder for models (default: ./models)"
    )
    models = parser.parse_args().models
    try:
        run(models)
    except RequestError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2
    except (FeatureSetError, OSError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
