# SPDX-License-Identifier: Apache-2.0
"""
Builds that are killed at random moments, while somebody reads.

``MLBRIDGE_KILLS`` says how many rounds there are in all, half of them in S3 and half on disk: 40 when it is
not set, 200 before a release. ``MLBRIDGE_SEED`` repeats the rounds of an earlier run; the seed is printed.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlbridge.features.build import build_feature_set
from airflow_provider_mlbridge.storage import Manifest, pin_snapshot, read_manifest
from airflow_provider_mlbridge.storage.manifest import (
    MANIFEST_NAME,
    manifest_of,
    read_current,
    version_prefix,
)
from airflow_provider_mlbridge.storage.store import ObjectStore
from tests.integration.storage.conftest import Place, parquet_bytes

pytestmark = pytest.mark.integration

ROUNDS = int(os.environ.get("MLBRIDGE_KILLS", "40")) // 2
DAYS = ("2026-11-18", "2026-11-19", "2026-11-20")
STEPS = [
    {"type": "impute", "columns": ["price"], "strategy": "median", "indicator": True},
    {"type": "standard", "columns": ["price"]},
]
DAILY = {"name": "daily", "keys": ["id"], "split": {"by": "hash"}, "refit": "never", "steps": STEPS}


class _Builder:
    """The process that forks builds."""

    def __init__(self, log: Path, environment: dict[str, str]) -> None:
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("killed_builds.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **environment, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n", log.read_text()

    def round(
        self, *builds: dict[str, Any], kill_after: float | None = None, publishing: bool = False
    ) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"builds": builds, "kill_after": kill_after, "publishing": publishing}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        assert 1 not in answer["codes"], self._log.read_text()
        return answer

    def stop(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=60)


class _Reader(threading.Thread):
    """Reads what is current, all of it, again and again."""

    def __init__(self, bases: list[str], place: Place) -> None:
        super().__init__(name="reader")
        self._bases, self._place = bases, place
        self._done = threading.Event()
        self.reads = 0
        self.errors: list[str] = []

    def run(self) -> None:
        while not self._done.wait(0.01):
            for base in self._bases:
                try:
                    manifest = read_manifest(base, s3_client=self._place.client)
                    self.errors += broken(manifest, self._place.store)
                except Exception as error:  # noqa: BLE001 - whatever a reader meets is what the test is about
                    self.errors.append(repr(error))
                self.reads += 1

    def stop(self) -> None:
        self._done.set()
        self.join(timeout=60)


def broken(manifest: Manifest, store: ObjectStore, *, own: bool = False) -> list[str]:
    """The files that are not what the manifest says."""
    wrong = []
    for file in manifest.files:
        if own and file.version is not None:
            continue
        data = store.read(file.uri)
        if len(data) != file.size or hashlib.sha256(data).hexdigest() != file.sha256:
            wrong.append(file.uri)
    return wrong


def check_listed(base: str, store: ObjectStore) -> int:
    """All versions that the pointer lists are whole; of those that only have a manifest, what they wrote."""
    current = read_current(base, store)
    assert current is not None
    pointer, _ = current
    listed = {pointer.version, *(name for name, _ in pointer.history)}
    found = {info.uri for info in store.list(f"{base}versions/") if info.uri.endswith("/" + MANIFEST_NAME)}
    assert {version_prefix(base, name) + MANIFEST_NAME for name in listed} <= found
    for uri in found:
        manifest = manifest_of(uri.removesuffix(MANIFEST_NAME), store)
        assert broken(manifest, store, own=manifest.version not in listed) == []
    return len(listed)


def states_listed(base: str, store: ObjectStore) -> set[str]:
    """What the versions that were current have learned."""
    current = read_current(base, store)
    assert current is not None
    pointer, _ = current
    names = [pointer.version, *(name for name, _ in pointer.history)]
    return {manifest_of(version_prefix(base, name), store).file("state.json").sha256 for name in names}


def test_what_is_current_is_always_whole(
    place: Place,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    seed = int(os.environ.get("MLBRIDGE_SEED", random.randrange(2**32)))
    print(f"MLBRIDGE_SEED={seed}, {ROUNDS} rounds")
    choose = random.Random(seed)
    mart, whole, daily, never = (f"{place.root}{name}/" for name in ("mart", "whole", "daily", "never"))
    environment = {} if place.client is None else request.getfixturevalue("s3_server").environment()
    number = 0

    def put(day: str) -> None:
        nonlocal number
        number += 1
        ids = list(range(60))
        body = parquet_bytes(id=ids, price=[None if row % 7 == 0 else row / (number + 2) for row in ids])
        place.put(f"mart/day={day}/part.parquet", body)

    def one(day: str) -> dict[str, Any]:
        options = {"partitions": {"day": day}, "partitioned": True, "keep_versions": 2}
        return {"datamart": mart, "recipe": DAILY, "output_uri": daily, **options, **common}

    def first_of_all(day: str, base: str) -> dict[str, Any]:
        """Features in one file, whose state is learned once, by whoever is first."""
        return {"datamart": f"{mart}day={day}/", "recipe": DAILY, "output_uri": base, **common}

    def all_days() -> dict[str, Any]:
        clip = {"type": "clip", "columns": ["price"], "upper": choose.randint(1, 10**9)}
        recipe = {"name": "whole", "keys": ["id"], "steps": [*STEPS, clip]}
        return {"datamart": mart, "recipe": recipe, "output_uri": whole, "latest_parquet": True, **common}

    common = {"scratch_dir": f"{tmp_path}/scratch"}
    for day in DAYS:
        put(day)
    builder = _Builder(tmp_path / "builder.log", environment)
    reader = _Reader([whole, daily], place)
    ends: Counter[int] = Counter()
    try:
        first = [builder.round(all_days()), builder.round(one(DAYS[0]))]
        assert [item["codes"] for item in first] == [[0], [0]]
        longest = max(item["seconds"] for item in first)
        publishing = max(item["seconds"] - item["published_after"] for item in first)
        reader.start()
        for turn in range(ROUNDS):
            for day in DAYS:
                put(day)
            first_day, second_day = choose.sample(DAYS, 2)
            builds = [
                [all_days()],
                [one(first_day)],
                [all_days(), all_days()],
                [one(first_day), one(second_day)],
                [one(first_day), one(first_day)],
                [first_of_all(first_day, f"{never}{turn}/"), first_of_all(second_day, f"{never}{turn}/")],
            ][turn % 6]
            late = choose.random() < 0.6
            kill_after = choose.uniform(0, (publishing if late else longest) * (0.8 + 0.6 * len(builds)))
            ends.update(builder.round(*builds, kill_after=kill_after, publishing=late)["codes"])
            if turn % 6 == 5:
                # Whatever is left of the two, all versions mean the same.
                build_feature_set(**first_of_all(first_day, f"{never}{turn}/"), s3_client=place.client)
                assert len(states_listed(f"{never}{turn}/", place.store)) == 1
            if turn % 10 == 9:
                check_listed(whole, place.store)
                check_listed(daily, place.store)
        assert reader.errors == []
        assert ends[-9] > 0
        # Whoever comes next has nothing to clear up.
        last = build_feature_set(**all_days(), s3_client=place.client)
        for day in DAYS:
            newest = build_feature_set(**one(day), s3_client=place.client)
    finally:
        builder.stop()
        if reader.is_alive():
            reader.stop()
    assert reader.errors == []
    assert reader.reads >= ROUNDS
    assert read_manifest(whole, s3_client=place.client).version_uri == last.uri
    assert read_manifest(daily, s3_client=place.client).version_uri == newest.uri
    assert last.latest_uri is not None
    features = read_manifest(whole, s3_client=place.client).file("features.parquet")
    assert hashlib.sha256(place.store.read(last.latest_uri)).hexdigest() == features.sha256
    assert pin_snapshot(daily, s3_client=place.client).file_count == len(DAYS)
    assert newest.rows == 180
    check_listed(whole, place.store)
    check_listed(daily, place.store)
    print(f"exit codes {dict(ends)}, {reader.reads} reads, builds of {longest:.2f} s")
