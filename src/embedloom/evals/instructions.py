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
    ("scidocsrr*", "Given the title of a scientific paper, retrieve titles of related papers"),
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
    ("treccovid*", "Given a question on COVID-19, retrieve documents that answer the question"),
    ("climatefever*", "Given a claim about climate change, retrieve passages that support or refute the claim"),
    ("touche*", "Given a question, retrieve detailed and convincing arguments that answer it"),
    ("cqadupstack*", "Given a question, retrieve questions of a forum that ask the same thing"),
    ("askubuntu*", "Given a question about Ubuntu, retrieve questions that ask the same thing"),
    ("stackoverflowdup*", "Given a question about programming, retrieve questions that ask the same thing"),
    ("mindsmall*", "Given what a user read, retrieve news that the user may want to read"),
    ("passkey*", "Given a question about a person's passkey, retrieve the text that tells it"),
    ("sts*", "Retrieve semantically similar text."),
    ("tatoeba*", "Retrieve parallel sentences."),
    ("bucc*", "Retrieve parallel sentences."),
    ("twitter*corpus*", "Retrieve tweets that say the same thing"),
    ("sprintduplicate*", "Retrieve questions of a forum that ask the same thing"),
    ("amazoncounterfactual*", "Given a review of a product, tell whether it speaks of what did not happen"),
    ("amazonpolarity*", "Given a review of a product, tell whether it praises or blames"),
    ("amazonreviews*", "Given a review of a product, tell how many stars it gives"),
    ("banking77*", "Given a question to a bank, tell what the customer wants"),
    ("emotion*", "Given a tweet, tell which emotion it expresses"),
    ("imdb*", "Given a review of a film, tell whether it praises or blames"),
    ("massiveintent*", "Given a request to an assistant, tell what the user wants"),
    ("massivescenario*", "Given a request to an assistant, tell which scenario it belongs to"),
    ("mtopdomain*", "Given a request to an assistant, tell which domain it belongs to"),
    ("mtopintent*", "Given a request to an assistant, tell what the user wants"),
    ("toxic*", "Given a comment, tell whether it is toxic"),
    ("tweetsentiment*", "Given a tweet, tell whether it is positive, negative or neutral"),
    ("*arxiv*clustering*", "Given a scientific paper, tell which field it belongs to"),
    ("*biorxiv*clustering*", "Given a paper of biology, tell which field it belongs to"),
    ("*medrxiv*clustering*", "Given a paper of medicine, tell which field it belongs to"),
    ("*reddit*clustering*", "Given a post, tell which forum it belongs to"),
    ("*stackexchange*clustering*", "Given a question, tell which forum it belongs to"),
    ("twentynewsgroups*", "Given a news post, tell which topic it belongs to"),
    ("sib200*", "Given a sentence, tell which topic it belongs to"),
    ("trec-question*", "Given a question, tell what kind of answer it asks for"),
)
"""(pattern of the set's name, instruction); the first that fits counts. In our words, after the paper's appendix."""

DEFAULTS = {
    "retrieval": "Given a search query, retrieve passages that answer the query",
    "reranking": "Given a search query, retrieve passages that answer the query",
    "sts": "Retrieve semantically similar text.",
    "pair-classification": "Retrieve semantically similar text.",
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
