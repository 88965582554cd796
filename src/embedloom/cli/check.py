"""`embedloom check`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("check")
@click.argument("model", type=click.Path(path_type=Path))
def command(model: Path) -> None:
    """Proves that MODEL's tokenizer, input contract and vectors are what they were when it was trained.

    Checks the token ids of the probe texts, the fingerprint, and, where sentence-transformers is installed, that it
    gives equal vectors in float32.
    """
    import numpy as np

    from embedloom.errors import ModelError
    from embedloom.model.encoder import open_encoder, read_checkpoint_file
    from embedloom.model.inputs import PROBES

    stored = read_checkpoint_file(model) if model.is_dir() else None
    if stored is None:
        raise ModelError(
            f"{model}: no embedloom.json here; expected the model folder of a run, such as runs/quickstart/model"
        )
    encoder = open_encoder(model, dtype="float32")
    click.echo(f"input contract: the tokenizer gives the recorded ids for {len(PROBES)} probe texts")
    if encoder.fingerprint != stored["fingerprint"]:
        now = encoder.fingerprint
        raise ModelError(
            f"{model}: fingerprint is {now}, recorded is {stored['fingerprint']}; a file was changed after training"
        )
    click.echo(f"fingerprint: {encoder.fingerprint}")
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        click.echo("sentence-transformers: not installed, not checked (pip install 'embedloom[baselines]')")
        return
    texts = [text for text in PROBES if text.strip()]
    name, instruction = next(iter(stored["instructions"].items()), ("query", ""))
    peer = SentenceTransformer(str(model), device=encoder.device.type, model_kwargs={"dtype": "float32"})
    for role, ours, theirs in (
        ("queries", encoder.encode_queries(texts, instruction), peer.encode(texts, prompt_name=name)),
        ("documents", encoder.encode_documents(texts), peer.encode(texts, prompt_name="document")),
    ):
        gap = float(np.abs(ours - np.asarray(theirs)).max())
        click.echo(f"sentence-transformers, {role}: largest difference {gap:.1e}")
        if gap > 1e-5:
            raise ModelError(
                f"{model}: sentence-transformers gives other vectors for {role} (difference {gap:.1e}, allowed 1e-5)"
            )
