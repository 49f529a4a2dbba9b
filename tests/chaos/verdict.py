# SPDX-License-Identifier: Apache-2.0
"""From what the trainings wrote down to the five counts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.chaos.journal import Entry, Journals
from tests.chaos.scheduler import Story


@dataclass
class Verdict:
    """
    What must be zero, and what is only told.

    :param starts: generations of a key that were started, to number of keys.
    :param lost: trainings that succeeded without that the task returned their result, and tasks that did not
        come to a result.
    :param duplicate: starts too many: of one generation, of a second key, beside an earlier generation that
        was alive, or after one that had succeeded and was not to be trained again.
    :param wrongly_killed: trainings that ended without a line while nobody had reason to kill them.
    :param orphans: processes that were left when all was over.
    """

    starts: Counter[int] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    duplicate: list[str] = field(default_factory=list)
    wrongly_killed: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """All that should not be, each with its kind."""
        kinds = ("lost", "duplicate", "wrongly_killed", "orphans")
        return [f"{kind}: {text}" for kind in kinds for text in getattr(self, kind)]


def judge(journals: Journals, stories: Iterable[Story]) -> Verdict:
    """Judge all trainings, but for what is left of them."""
    verdict = Verdict()
    for story in stories:
        _judge(verdict, story, journals.read(story.plan.number))
    return verdict


def _judge(verdict: Verdict, story: Story, entries: list[Entry]) -> None:
    name = f"training {story.plan.number} ({story.plan.mode})"
    by_word: dict[str, dict[tuple[str, int], int]] = defaultdict(Counter)
    for entry in entries:
        by_word[entry.word][entry.key, entry.generation] += 1
    started, succeeded = by_word["start"], by_word["end"]
    ended = {*succeeded, *by_word["fail"]}
    verdict.starts[len(started)] += 1
    keys = {key for key, _ in started}
    if len(keys) > 1:
        verdict.duplicate.append(f"{name} started under {len(keys)} keys")
    verdict.duplicate += [
        f"{name} generation {of[1]} started {n} times" for of, n in started.items() if n > 1
    ]
    verdict.duplicate += [
        f"{name} generation {of[1]} started beside an earlier one" for of in by_word["beside"]
    ]
    excused = story.struck | story.stopped
    returned = {value["generation"] for value in story.values}
    newest = max((generation for _, generation in started), default=0)
    for key, generation in started:
        what = f"{name} generation {generation}"
        if (key, generation) not in ended and generation not in excused:
            verdict.wrongly_killed.append(what)
        if (key, generation) in succeeded and generation not in excused:
            if generation not in returned:
                verdict.lost.append(f"{what} succeeded, and its result was not returned")
            if generation < newest and generation not in story.released:
                verdict.duplicate.append(f"{what} had succeeded, and another was started")
    if story.final != "success":
        verdict.lost.append(f"{name}: the task ended as {story.final!r}")
    for value in story.values:
        generation = value["generation"]
        told = {"task": story.plan.number, "generation": generation}
        if (value["key"], generation) not in succeeded or value["metrics"] != told:
            verdict.lost.append(f"{name} returned a result that generation {generation} did not report")
    if story.plan.again and len(set(returned)) < 2 and story.final == "success":
        verdict.lost.append(f"{name} was cleared after its success and did not train again")
