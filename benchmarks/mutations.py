"""Break each rule in the code, and see whether the random lives notice: `python -m benchmarks.mutations`.

Every mutation is made in a copy; the lives of `tests/rules/test_state_machine.py` run on it until one finds it, or
`--lives` of them did not. Exits with 1 if one was not found.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUN = """
import sys
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.rules.test_state_machine import Lives
run_state_machine_as_test(Lives, settings=settings(
    max_examples=int(sys.argv[1]), stateful_step_count=15, deadline=None, derandomize=True, database=None,
    phases=[Phase.generate], suppress_health_check=list(HealthCheck)))
"""


@dataclass(frozen=True)
class Mutation:
    """`old` is replaced by `new` where it stands first in `file`."""

    rule: int
    what: str
    file: str
    old: str
    new: str


MUTATIONS = (
    Mutation(
        1,
        "a policy is early",
        "domain/policy.py",
        "start = max(self.effective_at, self.armed_at)",
        "start = self.armed_at",
    ),
    Mutation(
        1,
        "armed without verification",
        "control/decide.py",
        "if left := [s.step.sequence for s in ahead_of_effect(plan, steps)]:",
        "if left := [s.step.sequence for s in ahead_of_effect(plan, steps) if s.state is StepState.PENDING]:",
    ),
    Mutation(
        1,
        "armed without the capacity",
        "control/decide.py",
        "if target.serving < aligned:",
        "if target.serving < 0:",
    ),
    Mutation(
        3,
        "written before it is announced",
        "app/writing.py",
        "    with ctx.store.transaction() as tx:\n        keep_lease(ctx, tx, lease)\n"
        "        check_unchanged(tx, view.change)",
        "    ctx.target(workload).apply(new)\n    with ctx.store.transaction() as tx:\n"
        "        keep_lease(ctx, tx, lease)\n        check_unchanged(tx, view.change)",
    ),
    Mutation(
        3,
        "an open write is guessed to be done",
        "app/writing.py",
        "        if live == intent.new:\n",
        "        if live:\n",
    ),
    Mutation(
        4,
        "the lease is given to everybody",
        "store/transaction.py",
        "if held is not None and valid and held.holder != holder:",
        "if False:",
    ),
    Mutation(
        4,
        "the lease is not looked at before a write",
        "app/writing.py",
        "    tx.check_lease(lease, now)\n    tx.acquire_lease(lease.workload, lease.holder, now, ctx.lease)",
        "    pass",
    ),
    Mutation(
        5,
        "a step does not wait for the pass before it",
        "control/decide.py",
        "step = next((s for s in view.steps if s.state in (StepState.PENDING, StepState.ASKED)), None)",
        "step = next((s for s in view.steps if s.state is StepState.PENDING), None)",
    ),
    Mutation(
        6,
        "the soft limit is exceeded",
        "control/decide.py",
        "if wanted > live + largest:\n        return live + largest, soft",
        "if wanted > live + largest:\n        return wanted, soft",
    ),
    Mutation(
        6,
        "the dwell is not kept",
        "control/decide.py",
        "moves = [s.asked_at + workload.limits.soft.dwell for s in steps if s.asked_at is not None]",
        "moves = [s.asked_at for s in steps if s.asked_at is not None]",
    ),
    Mutation(
        7,
        "missing data counts as zero",
        "control/verify.py",
        "    usage = {r: value for r, value in usage.items() if math.isfinite(value)}",
        "    usage = {r: usage.get(r, 0.0) for r in workload.resources}",
    ),
    Mutation(
        7,
        "shrunk on no data",
        "control/restore.py",
        'if required_units is None:\n            return LookAgain("no usage data: nothing shrinks")',
        "if required_units is None:\n            required_units = 0",
    ),
    Mutation(
        8,
        "a cancel is not looked for before a write",
        "app/writing.py",
        "    record = tx.change(seen.change.change)\n    if record != seen:",
        "    record = tx.change(seen.change.change)\n    if record is None:",
    ),
    Mutation(
        9,
        "another hand's value is restored",
        "control/restore.py",
        "    if live != ours:\n",
        "    if live is None:\n",
    ),
    Mutation(
        9,
        "what was there before is forgotten",
        "control/restore.py",
        "units = max(original.units, live.units - soft.largest_move(live.units), required_units)",
        "units = max(original.units + 1, live.units - soft.largest_move(live.units), required_units)",
    ),
    Mutation(
        12,
        "an outcome is not in the log",
        "store/transaction.py",
        'self._update(t.intents, {"number": number}, open=False, intent=settled)\n        self.audit(event)',
        'self._update(t.intents, {"number": number}, open=False, intent=settled)',
    ),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lives", type=int, default=300)
    parser.add_argument("--only", default="", help="mutations with this text in their description")
    args = parser.parse_args()
    missed = 0
    for mutation in MUTATIONS:
        if args.only not in mutation.what:
            continue
        began = time.monotonic()
        by = found_by(mutation, args.lives)
        missed += by is None
        seconds = time.monotonic() - began
        print(f"rule {mutation.rule:>2}  {mutation.what:<46}{by or 'NOT FOUND'}  ({seconds:.0f} s)", flush=True)
    return 1 if missed else 0


def found_by(mutation: Mutation, lives: int) -> str | None:
    """The assertion that failed; None if none did. Raises SystemExit if the mutation no longer fits the code."""
    with tempfile.TemporaryDirectory(prefix="forebay-mutated-") as folder:
        for part in ("forebay", "tests"):
            shutil.copytree(ROOT / part, Path(folder) / part, ignore=shutil.ignore_patterns("__pycache__"))
        file = Path(folder) / "forebay" / mutation.file
        text = file.read_text(encoding="utf-8")
        if text.count(mutation.old) != 1:
            raise SystemExit(f"{mutation.what}: forebay/{mutation.file} has changed; write this mutation anew")
        file.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
        env = os.environ | {"PYTHONPATH": folder}
        argv = [sys.executable, "-c", RUN, str(lives)]
        done = subprocess.run(argv, env=env, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode == 0:
        return None
    errors = [line for line in done.stderr.splitlines() if "Error" in line and not line.startswith(" ")]
    return (errors or ["failed without a word"])[0][:110]


if __name__ == "__main__":
    sys.exit(main())
