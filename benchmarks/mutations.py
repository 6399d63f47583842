"""Break each rule in the code, and see whether the random lives notice: `python -m benchmarks.mutations`.

Every mutation is made in a copy; the lives of `tests/rules/test_state_machine.py` run on it until one finds it, or
`--lives` of them did not: what takes two versions, or two runners at one moment, comes by once in hundreds. Found is
what fails an assertion: a copy that cannot run at all tells nothing. So does one whose lives fail anyway: the copy
without a mutation comes first, and must pass. Exits with 1 if one was not found.
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
import traceback
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.rules.test_state_machine import Lives
try:
    run_state_machine_as_test(Lives, settings=settings(
        max_examples=int(sys.argv[1]), stateful_step_count=15, deadline=None, derandomize=True, database=None,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck), report_multiple_bugs=False))
except AssertionError as error:
    at = traceback.extract_tb(error.__traceback__)[-1]
    print((str(error).splitlines() or [at.line])[0])
    sys.exit(FOUND)
"""
FOUND = 10  # exit code: an assertion failed


@dataclass(frozen=True)
class Mutation:
    """`old`, which occurs once in `file` (below forebay/), is replaced by `new`."""

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
        2,
        "a policy is late",
        "domain/policy.py",
        "start = max(self.effective_at, self.armed_at)",
        "start = max(self.effective_at, self.armed_at).replace(microsecond=1)",
    ),
    Mutation(
        1,
        "armed without verification",
        "control/alignment.py",
        "left = [s.step.sequence for s in ahead_of_effect(plan, steps)]",
        "left = [s.step.sequence for s in ahead_of_effect(plan, steps) if s.state is StepState.PENDING]",
    ),
    Mutation(
        1,
        "armed without the capacity",
        "control/alignment.py",
        "if target.serving < aligned:",
        "if target.serving < 0:",
    ),
    Mutation(
        3,
        "written before it is announced",
        "app/writing.py",
        "    with ctx.store.transaction() as tx:\n        keep_lease(ctx, tx, lease)\n"
        "        check_unchanged(tx, view.change)\n        _remember_original(",
        "    ctx.target(workload).apply(new)\n    with ctx.store.transaction() as tx:\n"
        "        keep_lease(ctx, tx, lease)\n        check_unchanged(tx, view.change)\n        _remember_original(",
    ),
    Mutation(
        3,
        "an open write is guessed to be done",
        "app/writing.py",
        "        if intent.new.stands_in(live) or _but_for_the_ceiling(intent, live):\n",
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
        "return max(live + largest, kept), soft",
        "return max(wanted, kept), soft",
    ),
    Mutation(
        6,
        "the dwell is not kept",
        "control/decide.py",
        "return step.step.due_at if moved is None else max(step.step.due_at, moved + workload.limits.soft.dwell)",
        "return step.step.due_at",
    ),
    Mutation(
        6,
        "a step is made in a freeze window",
        "control/decide.py",
        "if freeze := next((f for f in view.freezes if f.covers(view.now)), None):",
        "if freeze := next((f for f in view.freezes if f.start > view.now), None):",
    ),
    Mutation(
        6,
        "a step goes below what is still guaranteed",
        "control/decide.py",
        "if falls and units < min(view.guaranteed,",
        "if falls and units < min(view.guaranteed - 99,",
    ),
    Mutation(
        6,
        "given back below what another policy guarantees",
        "app/restore.py",
        "original = original.within(held_to)",
        "original = original.model_copy()",
    ),
    Mutation(
        9,
        "what a policy had raised is forgotten with it",
        "app/left.py",
        "while found.lever is Lever.FLOOR and",
        "while found.lever is Lever.COUNT and",
    ),
    Mutation(
        8,
        "a pin stops no step",
        "control/decide.py",
        "if view.pin and view.now < view.pin.until:",
        "if view.pin and view.now < view.change.received_at:",
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
        "every hold ends by itself",
        "app/recover.py",
        "if not record.lapses:",
        'if record.state != "held":',
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
        "    if not ours.stands_in(live):\n",
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
        1,
        "armed without its part of a shared path",
        "control/alignment.py",
        "ahead = ahead[: max(short, default=0) + 1]",
        "ahead = []",
    ),
    Mutation(
        9,
        "given back under a change that is carried",
        "app/joint.py",
        "return f\"{', '.join(dict.fromkeys(names))} counts on it\" if names else None",
        "return None",
    ),
    Mutation(
        11,
        "scheduled without an approval",
        "app/approvals.py",
        "    if request.standing.approved:\n        if request",
        "    if request:\n        if request",
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
    parser.add_argument("--lives", type=int, default=1000)
    parser.add_argument("--only", default="", help="mutations with this text in their description")
    args = parser.parse_args()
    code, said = run(None, args.lives)
    if code:
        print(f"the lives fail without a mutation: {said}")
        return 1
    missed, width = 0, max(len(mutation.what) for mutation in MUTATIONS) + 2
    for mutation in MUTATIONS:
        if args.only not in mutation.what:
            continue
        began = time.monotonic()
        code, said = run(mutation, args.lives)
        missed += code != FOUND
        seconds = time.monotonic() - began
        how = said if code == FOUND else f"NOT FOUND{said and f', but it broke: {said}'}"
        print(f"rule {mutation.rule:>2}  {mutation.what:<{width}}{how}  ({seconds:.0f} s)", flush=True)
    return 1 if missed else 0


def run(mutation: Mutation | None, lives: int) -> tuple[int, str]:
    """Exit code of the lives in a copy with the mutation (0, FOUND, or that of a crash), and what failed.

    Raises SystemExit if the mutation no longer fits the code.
    """
    with tempfile.TemporaryDirectory(prefix="forebay-mutated-") as folder:
        for part in ("forebay", "tests"):
            shutil.copytree(ROOT / part, Path(folder) / part, ignore=shutil.ignore_patterns("__pycache__"))
        if mutation is not None:
            (Path(folder) / "forebay" / mutation.file).write_text(mutated(mutation), encoding="utf-8")
        env = os.environ | {"PYTHONPATH": folder}
        argv = [sys.executable, "-c", f"FOUND = {FOUND}{RUN}", str(lives)]
        done = subprocess.run(argv, env=env, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
    said = (done.stdout if done.returncode == FOUND else done.stderr).strip().splitlines()
    return done.returncode, said[-1][:110] if done.returncode and said else ""


def mutated(mutation: Mutation) -> str:
    """The file's text with the mutation. Raises SystemExit if it no longer fits the code."""
    text = (ROOT / "forebay" / mutation.file).read_text(encoding="utf-8")
    if text.count(mutation.old) != 1:
        raise SystemExit(f"{mutation.what}: forebay/{mutation.file} has changed; write this mutation anew")
    return text.replace(mutation.old, mutation.new)


if __name__ == "__main__":
    sys.exit(main())
