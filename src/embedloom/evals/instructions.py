"""One table: which sentence tells an instructed model what a set's queries are for."""

from __future__ import annotations

from fnmatch import fnmatchcase

INSTRUCTIONS: tuple[tuple[str, str], ...] = (
    ("scifact*", "Given a scientific claim, retrieve documents that support or refute the claim"),
    ("xquad*", "Given a question, retrieve passages that answer the question"),
    ("nfcorpus*", "Given a question about health, retrieve documents that answer it best"),
    ("trec-covid*", "Given a question on COVID-19, retrieve documents that answer the question"),
    ("fiqa*", "Given a question on money and finance, retrieve replies that answer it best"),
    ("arguana*", "Given a claim, find the argument that refutes it best"),
    ("quora*", "Given a question, retrieve questions that ask the same thing"),
    ("scidocs*", "Given the title of a scientific paper, retrieve abstracts of papers that it cites"),
    ("fever*", "Given a claim, retrieve passages that support or refute the claim"),
    ("climate-fever*", "Given a claim about climate change, retrieve passages that support or refute the claim"),
    ("dbpedia*", "Given a query, retrieve descriptions of the entities that it asks for"),
    ("hotpotqa*", "Given a question that takes several steps, retrieve passages that help to answer it"),
    ("msmarco*", "Given a web search query, retrieve passages that answer the query"),
    ("nq*", "Given a question, retrieve Wikipedia passages that answer the question"),
    ("miracl*", "Given a question, retrieve Wikipedia passages that answer the question"),
    ("webis-touche*", "Given a question, retrieve detailed and convincing arguments that answer it"),
    ("python-docs*", "Given a summary of what a Python object does, retrieve its documentation"),
    ("known-item*", "Given the title or summary of a text, retrieve the text"),
    ("sts*", "Retrieve semantically similar text."),
    ("tatoeba*", "Retrieve parallel sentences."),
    ("bucc*", "Retrieve parallel sentences."),
    ("sib200*", "Given a sentence, tell which topic it belongs to"),
    ("trec-question*", "Given a question, tell what kind of answer it asks for"),
)
"""(pattern of the set's name, instruction); the first that fits counts. In our words, after the paper's appendix."""

DEFAULTS = {
    "retrieval": "Given a search query, retrieve passages that answer the query",
    "reranking": "Given a search query, retrieve passages that answer the query",
    "sts": "Retrieve semantically similar text.",
    "bitext": "Retrieve parallel sentences.",
    "classification": "Given a text, tell which class it belongs to",
    "clustering": "Given a text, tell which topic it belongs to",
}
"""What a set gets that no pattern names, by family."""


def instruction_for(task: str, family: str, override: str | None = None) -> str:
    """The instruction for a set.

    Args:
        task: the set's name; letter case doesn't matter.
        family: one of the keys of `DEFAULTS`.
        override: what the caller wants instead; "" means no instruction at all.
    """
    if override is not None:
        return override
    fitting = (instruction for pattern, instruction in INSTRUCTIONS if fnmatchcase(task.lower(), pattern))
    return next(fitting, DEFAULTS[family])
