"""The command line: `tilewright devices`, `tilewright certify`, `tilewright tune`, `tilewright records`."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from typing import Any

import click

from tilewright.backends import registry
from tilewright.backends.protocol import Found, TilewrightError
from tilewright.tuner.command_certify import certify
from tilewright.tuner.command_records import records
from tilewright.tuner.command_report import report
from tilewright.tuner.command_tune import tune
from tilewright.tuner.measure import LIMIT_SECONDS, supervisor
from tilewright.tuner.process import Child, Died, Hung

DISCOVERY_SECONDS = LIMIT_SECONDS["start"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tilewright", message="tilewright %(version)s")
def cli() -> None:
    """A tensor backend that fits itself to the chip it runs on."""


@cli.command()
def devices() -> None:
    """Show every device, and whether a round trip through it works.

    The round trip allocates, writes, compiles, launches, reads and compares, in a process of its own.
    Exit status 0 if at least one device passes.
    """
    passed = 0
    for found in _discover():
        if found.device is None:
            _show_absent(found)
            continue
        trouble = supervisor(found.name).probe()
        passed += trouble is None
        click.echo(f"{found.name:<10} {'PASS' if trouble is None else 'FAIL'}  {_model(found)}")
        for line in _facts(found):
            click.echo(f"{'':<16} {line}")
        if trouble:
            click.echo(f"{'':<16} the round trip failed: {trouble}")
        if found.note:
            click.echo(f"{'':<16} note: {found.note}" + (f": {found.remedy}" if found.remedy else ""))
    if not passed:
        raise click.ClickException(
            "no device passes; install a C compiler (gcc or clang) for the cpu, or see the lines above"
        )


def _discover() -> Iterator[Found]:
    """Every device. A plug-in is asked in a process of its own first, which its driver may end, or keep for ever."""
    for backend, target in registry.backends().items():
        how = "" if backend in registry.BUILT_IN else _fatal(backend)
        yield from [registry.faulty(backend, how, backend, target)] if how else registry.discover_backend(backend)
    yield from registry.clashes()


def _fatal(backend: str) -> str:
    """What asking for the backend's devices does to a process; "" where it lives on."""
    try:
        child = Child("tilewright.tuner.worker", backend)
        child.receive(DISCOVERY_SECONDS)
        child.close()
    except Hung:
        return f"looking for its devices does not end within {DISCOVERY_SECONDS:.0f} s"
    except Died as death:
        return f"looking for its devices ends the process: {death}"
    return ""


def _show_absent(found: Found) -> None:
    reason = found.reason.removeprefix(f"{found.name}: ")
    if found.faulty:
        click.echo(f"{found.name:<10} FAIL  {reason}")
        click.echo(f"{'':<16} {found.remedy}")
    else:
        click.echo(f"{found.name:<10} not usable: {reason}" + (f": {found.remedy}" if found.remedy else ""))


def _model(found: Found) -> str:
    assert found.device is not None
    fingerprint = found.device.fingerprint
    partition = f", partition {fingerprint.partition}" if fingerprint.partition else ""
    return f"{fingerprint.model} ({fingerprint.vendor}, {fingerprint.architecture}{partition})"


def _facts(found: Found) -> list[str]:
    assert found.device is not None
    fingerprint, limits = found.device.fingerprint, found.device.limits
    software = [f"driver {fingerprint.driver}"] if fingerprint.driver else []
    software += [f"compiler {fingerprint.compiler}"] if fingerprint.compiler else []
    groups = f"up to {limits.threads_per_group} threads a group, {_size(limits.shared_nbytes)} shared"
    memory = [f"{_size(limits.memory_nbytes)} memory, {_size(limits.allocation_nbytes)} at most in one buffer"]
    memory += [f"caches {', '.join(map(_size, limits.cache_nbytes))}"] if limits.cache_nbytes else []
    work = [
        f"{limits.compute_units} compute units",
        "groups of one thread" if limits.threads_per_group == 1 else groups,
    ]
    work += [f"{8 * limits.vector_nbytes}-bit vectors"] if limits.vector_nbytes else []
    return [line for line in ("; ".join(software), "; ".join(memory), "; ".join(work)) if line]


def _size(nbytes: int) -> str:
    for unit, scale in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if nbytes >= scale:
            return f"{nbytes / scale:.4g} {unit}"
    return f"{nbytes} bytes"


cli.add_command(certify)
cli.add_command(tune)
cli.add_command(records)
cli.add_command(report)


def _show_warning(message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
    text = str(message).removeprefix("tilewright: ")
    click.echo(f"tilewright: warning: {text}", err=True)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits; every failure is one sentence on stderr, never a traceback."""
    warnings.showwarning = _show_warning
    try:
        status = cli.main(args=arguments, prog_name="tilewright", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("tilewright: interrupted; what was measured is kept", err=True)
        status = 130
    except BrokenPipeError:  # the reader of our output has seen enough
        status = 0
    except OSError as error:
        click.echo(f"tilewright: {error.strerror or error}: {error.filename or ''}".rstrip(": "), err=True)
        status = 1
    except (TilewrightError, ValueError) as error:
        click.echo(f"tilewright: {error}", err=True)
        status = 1
    except Exception as error:
        click.echo(f"tilewright: an error of its own, please report it: {type(error).__name__}: {error}", err=True)
        status = 1
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
