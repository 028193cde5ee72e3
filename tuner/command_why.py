"""`tilewright records why`: what runs for a problem on a device, and what each record about it is worth there."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import click

from tilewright.backends.protocol import Device
from tilewright.backends.registry import get_device
from tilewright.kernels.problem import Problem
from tilewright.tuner.choose import MARGIN, choose, usable
from tilewright.tuner.past import FEW, Past
from tilewright.tuner.prepare import Candidate, vendor_candidate
from tilewright.tuner.records import Record
from tilewright.tuner.reuse import GRADES, IGNORE, REMEASURE, SEED, USE, Reuse, reuse
from tilewright.tuner.standard import standard
from tilewright.tuner.store import Store, default_store
from tilewright.tuner.tune_problem import AGAIN_SECONDS, problem_of
from tilewright.tuner.yardstick import duration

AGAIN = f"the next tune measures the best {FEW} again, in about {AGAIN_SECONDS:.0f} s"
STANDS = f"chosen by until then; {AGAIN}"
DONE = {
    USE: "counts as measured here",
    REMEASURE: f"not used; {AGAIN}",
    SEED: "not used; tells the next tune where to look first",
    IGNORE: "not used: another architecture says nothing about this one",
}


@click.command("why")
@click.argument("problem", metavar="PROBLEM")
@click.option("--device", "-d", "name", metavar="D", required=True, help="See `tilewright devices`.")
def why_record(problem: str, name: str) -> None:
    """Say what runs for PROBLEM on a device and why, and what is done with each record of it.

    PROBLEM is a title or a key as `tilewright records list` shows them, or the name of a standard problem.
    """
    device, store = get_device(name), default_store()
    found = find_problem(problem, device, store)
    click.echo(f"{found.title} ({found.key}) on {device.name}")
    past = Past(found, device, store)
    for line in (*_chosen(found, device, store, past), *_graded(found, device, store, past)):
        click.echo(f"  {line}")


def find_problem(name: str, device: Device, store: Store) -> Problem:
    """The problem of that key, title or standard name. Raises ClickException where there is none, or several."""
    known = {p.key: p for label, p in standard(device.limits) if name in (label, p.title, p.key)}
    for record in store.records():
        if record.kind == "search" and name in (record.title, record.problem) and record.problem not in known:
            known[record.problem] = _problem(record)
    if not known:
        raise click.ClickException(f"no record is about {name!r}; `tilewright records` lists what there is")
    if len(known) > 1:
        raise click.ClickException(f"{name!r} may be any of {', '.join(known)}; give one of these")
    return next(iter(known.values()))


def _problem(record: Record) -> Problem:
    try:
        return problem_of(record.details["problem"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise click.ClickException(f"the record of {record.title!r} says no problem: {error}") from None


def _chosen(problem: Problem, device: Device, store: Store, past: Past) -> Iterator[str]:
    choice = choose(problem, device)
    yield f"runs now: {choice.candidate.name}"
    best = store.best(problem.key, device.fingerprint)
    if choice.origin == "record" and best is not None:
        interval = f"95 % within {duration(best.low)} and {duration(best.high)}, {best.rounds} runs"
        said = f"{duration(best.seconds)} ({interval}; {best.policy}; results: {best.numerics}; {_day(best.when)})"
        then = "" if past.text(choice.candidate) == best.text else ", before the kernel's text was rewritten"
        yield f"since it was measured here{then}: {said}"
        return
    if best is not None:
        yield f"{best.name}, the best that was measured, is not valid for it any more"
    vendor = vendor_candidate(problem, device)
    for near in store.nearest(problem, device.fingerprint):
        if usable(near, problem, device, vendor) is not None:
            said = _said(near, store, vendor is not None)
            yield f"since the closest size that was measured here, {near.title}, says so: {said}"
            return
    yield "since nothing was measured here, at this size or one close to it"


def _said(near: Record, store: Store, vendor: bool) -> str:
    base = "vendor" if vendor else "default"
    if near.kernel == "vendor" or (near.default and not vendor):
        return f"the {base} won there"
    advantage = store.advantage(near, vendor)
    if not advantage:
        return f"{near.name} won there, the {base} was not in the race"
    return f"{near.name} surely beat the {base} {advantage:.2f}x there; {MARGIN:.2f}x is asked for"


def _graded(problem: Problem, device: Device, store: Store, past: Past) -> Iterator[str]:
    """Records by what they are worth, those that are worth the same for the same reasons in one line."""
    groups: dict[tuple[str, tuple[str, ...]], list[Record]] = {}
    for record in store.records():
        if record.kind == "trial" and record.problem == problem.key:
            worth = _worth(record, device, past)
            groups.setdefault((worth.grade, tuple(map(str, worth.changes))), []).append(record)
    for (grade, changes), rows in sorted(groups.items(), key=lambda row: (GRADES.index(row[0][0]), row[0][1])):
        last = max(rows, key=lambda r: r.when)
        stands = grade == REMEASURE and last.fingerprint == device.fingerprint
        done = STANDS if stands else DONE[grade]
        reasons = f": {'; '.join(changes)}" if changes else ""
        yield f"{grade}: {len(rows)} trials on {last.device}, last {_day(last.when)}{reasons} ({done})"


def _worth(record: Record, device: Device, past: Past) -> Reuse:
    return reuse(record, device.fingerprint, past.text(Candidate(record.kernel, record.config)), past.policy)


def _day(when: float) -> str:
    return datetime.fromtimestamp(when).strftime("%Y-%m-%d %H:%M")
