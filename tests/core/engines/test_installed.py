"""What is told of packages that are and are not installed."""

import subprocess
import sys
from importlib.metadata import version

from core.contract.engine import Available, Unavailable
from core.engines.installed import Package, check_packages

HERE = Package("msgspec", "msgspec")
ABSENT = Package("no_such_module", "no-such-package", "install it")


def test_a_package_that_is_here_is_told_with_its_version() -> None:
    assert check_packages(HERE) == Available(version("msgspec"))


def test_a_build_of_another_name_has_the_version() -> None:
    assert check_packages(Package("msgspec", "msgspec-gpu", builds=("msgspec",))) == Available(version("msgspec"))
    assert check_packages(Package("json", "no-such-package")) == Available("unknown")


def test_the_first_that_is_missing_is_the_reason_with_its_mend() -> None:
    assert check_packages(HERE, ABSENT) == Unavailable("The package no-such-package is not installed.", "install it")
    told = Package("no_such_module", "x", lack="The package x is half here.")
    assert check_packages(told, ABSENT) == Unavailable("The package x is half here.")


def test_a_part_that_a_build_lacks_is_missed_without_importing_the_package() -> None:
    code = (
        "import sys; from core.engines.installed import Package, check_packages as check; "
        "print(check(Package('xml.no_such_part', 'xml')), check(Package('xml.dom', 'xml')), 'xml' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    missing, _, rest = done.stdout.partition(")")
    assert missing.startswith("Unavailable(")
    assert rest.split() == ["Available(version='unknown')", "False"]
