# SPDX-License-Identifier: Apache-2.0
"""What a seed makes of a chaos run: which trainings there are and what befalls them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

RETRIES = 12
"""Of every task; what befalls it is less."""


@dataclass(frozen=True)
class WorkerFault:
    """
    What befalls a worker.

    :param kind: ``kill``; ``clear``, a user clears the task that it runs; ``freeze``, it stands still until
        Airflow takes it for dead, and goes on when the next try is at work.
    :param after: seconds from its start.
    """

    kind: str
    after: float


@dataclass(frozen=True)
class WaitFault:
    """
    What a user does to a task that is deferred.

    :param kind: ``clear`` or ``fail`` (the task is marked failed, and cleared later).
    :param after: seconds from the deferral.
    :param order: when the trigger's ``on_kill`` comes: ``first``, before the next try; ``race``, at the same
        time; ``late``, once the next try has the training; ``never``.
    """

    kind: str
    after: float
    order: str


@dataclass(frozen=True)
class Strike:
    """
    Processes of a training are killed.

    :param generation: of which start.
    :param after: seconds from then.
    :param targets: ``child``, ``supervisor`` or both.
    """

    generation: int
    after: float
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """
    One training.

    :param number: of the training.
    :param mode: ``ssh`` or ``api``.
    :param seconds: that it takes.
    :param kinds: ``deaf`` ignores TERM, ``child`` leaves a process in a session of its own.
    :param failures: so many generations end with exit code 3.
    :param workers: what befalls its workers, in the order in which they start.
    :param wait: what a user does at its first deferral.
    :param strikes: what is killed of it.
    :param again: whether a user clears it once it has succeeded.
    """

    number: int
    mode: str
    seconds: float
    kinds: tuple[str, ...]
    failures: int
    workers: tuple[WorkerFault | None, ...] = ()
    wait: WaitFault | None = None
    strikes: tuple[Strike, ...] = field(default=())
    again: bool = False


def plan_of(seed: int, number: int) -> Plan:
    """The training with this number; the same for every run with the seed."""
    dice = random.Random(f"{seed}/training/{number}")
    wait = None
    if dice.random() < 0.2:
        kind = "clear" if dice.random() < 0.7 else "fail"
        order = dice.choice(["first", "race", "late", "never"] if kind == "clear" else ["first", "never"])
        wait = WaitFault(kind, dice.uniform(0.0, 1.5), order)
    strikes = []
    if dice.random() < 0.25:
        targets = dice.choice([("child",), ("supervisor",), ("child", "supervisor"), ("supervisor", "child")])
        strikes.append(Strike(1, dice.uniform(0.0, 1.0), targets))
    return Plan(
        number=number,
        mode=dice.choice(["ssh", "api"]),
        seconds=dice.uniform(3.0, 5.0) if wait and wait.order == "late" else dice.uniform(0.05, 2.5),
        kinds=tuple(kind for kind, chance in (("deaf", 0.04), ("child", 0.2)) if dice.random() < chance),
        failures=int(dice.random() < 0.1),
        workers=tuple(_worker_fault(dice) for _ in range(4)),
        wait=wait,
        strikes=tuple(strikes),
        again=dice.random() < 0.15,
    )


def _worker_fault(dice: random.Random) -> WorkerFault | None:
    draw = dice.random()
    # Half of the kills at the very beginning, where it submits.
    after = dice.uniform(0.0, 0.25) if dice.random() < 0.5 else dice.uniform(0.0, 1.5)
    if draw < 0.3:
        return WorkerFault("kill", after)
    if draw < 0.36:
        return WorkerFault("clear", after)
    if draw < 0.42:
        return WorkerFault("freeze", after)
    return None


WORLD_FAULTS = {
    "triggerer killed": 3,
    "sshd restarted": 1,
    "ssh sessions killed": 2,
    "service killed": 2,
    "ssh connections cut": 2,
    "api connections cut": 2,
    "ssh port closed": 1,
    "api port closed": 1,
    "ssh stalled": 1,
    "api stalled": 1,
}
"""What befalls all trainings at once, and how often beside the others."""
