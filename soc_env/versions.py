"""Versions of installed packages, for everything that writes down what it was made with."""

import importlib.metadata


def versions(*packages: str) -> dict[str, str]:
    """Package -> version, without those that are not installed; a package that runs from a checkout has none."""
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
