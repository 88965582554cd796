"""The stages of the data factory: corpus, tasks, prompts, generations, examples, curated examples."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedloom.cli.corpus import KNOWN_ITEM, drawn, is_text, read_documents, source_content, text_items
from embedloom.cli.curating import curate, parse
from embedloom.cli.pipeline import Run
from embedloom.cli.progress import bar, notice
from embedloom.recipe import resolved
from embedloom.records import Demonstration, Document, Generation, Prompt, Reject, Task, content_id
from embedloom.run import RecordLog, atomic_file, read_records, write_records

if TYPE_CHECKING:
    from embedloom.llm.names import StyledLLM

TASK_LOG = "task_generations.jsonl"


class Factory:
    """Runs the factory's stages of one run; the language model is opened once, and only if something is left to ask."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.recipe = run.recipe
        self._llm: StyledLLM | None = None

    def do(self, stage: str) -> None:
        """One stage by its name; those behind `corpus` only where the recipe asks for synthetic examples."""
        work: dict[str, Callable[[], None]] = {
            "corpus": self.corpus,
            "tasks": self.tasks,
            "compose": self.prompts,
            "generate": self.generate,
            "parse": partial(parse, self.run),
            "curate": partial(curate, self.run),
        }
        if stage == "corpus" or any(self.recipe.generate.counts.values()):
            work[stage]()

    def corpus(self) -> None:
        """The passages that queries are written for, and the known-item set of the texts that are kept apart."""
        settings = self.recipe.corpus
        if not settings.source:
            return
        known_item = is_text(settings.source)
        files = [
            "passages.jsonl",
            *([f"{KNOWN_ITEM}/corpus.jsonl", f"{KNOWN_ITEM}/queries.jsonl"] if known_item else []),
        ]

        def work() -> dict[str, Any]:
            from embedloom.data.beir import write_beir
            from embedloom.data.known_item import known_item_set, passages, split_groups

            figures: dict[str, Any] = {}
            # Of an earlier corpus: what stands there would be measured and indexed in place of this one.
            shutil.rmtree(self.run.folder / KNOWN_ITEM, ignore_errors=True)
            if known_item:
                items = text_items(settings.source)
                train, kept_apart = split_groups(items, settings.evaluation_share, self.recipe.seed)
                name = "python-docs" if settings.source == "python-docs" else KNOWN_ITEM
                found = known_item_set(items, kept_apart, name=name)
                write_beir(found, self.run.folder / KNOWN_ITEM)
                documents: Sequence[Document] = passages(train)
                figures = {"queries": len(found.queries), "documents": len(found.corpus)}
            else:
                documents = read_documents(settings.source)
            chosen = drawn(documents, settings.limit, self.recipe.seed)
            return {"passages": write_records(self.run.folder / "passages.jsonl", chosen), **figures}

        told = {**settings.model_dump(), "seed": self.recipe.seed, "content": source_content(settings.source)}
        self.run.stage("corpus", settings=told, inputs=[], files=files, work=work)

    def tasks(self) -> None:
        """The recipe's tasks, and those that the language model thinks of."""
        told = {"given": resolved(self.recipe)["tasks"], "brainstorm": self.recipe.brainstorm.model_dump()}
        told |= {"llm": self.recipe.llm.model_dump(), "seed": self.recipe.seed}

        def work() -> dict[str, Any]:
            from embedloom.synth.brainstorm import parse_tasks

            tasks = [_task(given) for given in self.recipe.tasks]
            rejects: list[Reject] = []
            if self.recipe.brainstorm.families:
                prompts = self._brainstorm_prompts()
                log = self.run.folder / TASK_LOG
                self._ask("brainstorm", prompts, log)
                for result in parse_tasks(prompts, read_records(log, Generation)):
                    if isinstance(result, Reject):
                        rejects.append(result)
                    else:
                        tasks.append(result)
            write_records(self.run.folder / "rejects/tasks.jsonl", rejects)
            write_records(self.run.folder / "tasks.jsonl", tasks)
            return {"tasks": len(tasks), "rejects": len(rejects)}

        inputs = ["passages.jsonl"] if self.recipe.brainstorm.families else []
        self.run.stage("tasks", settings=told, inputs=inputs, files=["tasks.jsonl", "rejects/tasks.jsonl"], work=work)

    def task_prompts(self) -> list[Prompt]:
        """The prompts of step 1 that have no answer on disk yet."""
        if not self.recipe.brainstorm.families:
            return []
        answered = set(self._answers(self.run.folder / TASK_LOG))
        return [prompt for prompt in self._brainstorm_prompts() if prompt.id not in answered]

    def prompts(self) -> None:
        """Every prompt, its blanks drawn; nothing is sent."""
        settings = self.recipe.generate

        def work() -> dict[str, Any]:
            return {"prompts": write_records(self.run.folder / "prompts.jsonl", self.composed())}

        told = {**settings.model_dump(), "seed": self.recipe.seed, "llm": self.recipe.llm.model}
        inputs = ["tasks.jsonl", "passages.jsonl"]
        self.run.stage("compose", settings=told, inputs=inputs, files=["prompts.jsonl"], work=work)

    def composed(self) -> Iterable[Prompt]:
        """The prompts of the recipe in their order."""
        from embedloom.synth.compose import compose

        settings = self.recipe.generate
        return compose(
            seed=self.recipe.seed,
            counts=settings.counts,
            style=self.llm.style,
            tasks=list(read_records(self.run.folder / "tasks.jsonl", Task)),
            languages=settings.languages or None,
            passages=self.passages(),
            grounded_language=settings.grounded_language,
            passage_words=settings.passage_words,
        )

    def generate(self) -> None:
        """Asks the language model for every prompt that has no answer on disk yet."""

        def work() -> dict[str, Any]:
            prompts = list(read_records(self.run.folder / "prompts.jsonl", Prompt))
            log = self.run.folder / "generations.jsonl"
            self._ask("generate", prompts, log)
            answers = list(read_records(log, Generation))
            tokens = {
                "input_tokens": sum(a.input_tokens for a in answers),
                "output_tokens": sum(a.output_tokens for a in answers),
            }
            return {"generations": len(answers), **tokens}

        told = {"llm": self.recipe.llm.model_dump(), "seed": self.recipe.seed}
        self.run.stage("generate", settings=told, inputs=["prompts.jsonl"], files=["generations.jsonl"], work=work)

    @property
    def llm(self) -> StyledLLM:
        """The recipe's language model, opened on first use."""
        if self._llm is None:
            from embedloom.llm.names import open_llm

            settings = self.recipe.llm
            self._llm = open_llm(
                settings.model,
                temperature=settings.temperature,
                top_p=settings.top_p,
                top_k=settings.top_k,
                batch_size=settings.batch_size,
                dtype=settings.dtype,
                notice=notice,
            )
        return self._llm

    def close(self) -> None:
        """Lets go of the language model, so that the trainer has its memory."""
        self._llm = None

    def passages(self) -> list[Document]:
        """The passages that queries are written for; none without a corpus."""
        path = self.run.folder / "passages.jsonl"
        return list(read_records(path, Document)) if path.exists() else []

    def _brainstorm_prompts(self) -> list[Prompt]:
        from embedloom.synth.brainstorm import brainstorm_prompts

        settings = self.recipe.brainstorm
        style, passages = self.llm.style, self.passages()
        return list(
            brainstorm_prompts(
                seed=self.recipe.seed, families=settings.families, calls=settings.calls, style=style, passages=passages
            )
        )

    def _asker(self) -> str:
        """Whoever answers: the same model with the same settings and seed."""
        return content_id("asker", self.recipe.llm.model_dump(exclude={"batch_size"}), self.recipe.seed)

    def _answers(self, path: Path) -> list[str]:
        """Ids of the prompts that this language model has answered in a log."""
        mark = path.with_suffix(".asker")
        if not path.exists() or (mark.exists() and mark.read_text(encoding="utf-8") != self._asker()):
            return []
        RecordLog(path).close()  # cuts off the line that a kill left unfinished
        return [generation.prompt_id for generation in read_records(path, Generation)]

    def _ask(self, title: str, prompts: Sequence[Prompt], path: Path) -> None:
        """Asks for what has no answer in the log. Replies are on disk before more is asked.

        A log that another model or other settings wrote is put aside under its own name, and taken up again with them.
        """
        asker = self._asker()
        mark = path.with_suffix(".asker")
        if path.exists() and mark.exists() and (before := mark.read_text(encoding="utf-8")) != asker:
            path.rename(path.with_name(f"{path.stem}-{before}.jsonl"))
        own = path.with_name(f"{path.stem}-{asker}.jsonl")
        if own.exists() and not path.exists():
            own.rename(path)
        with atomic_file(mark) as file:
            file.write(asker)
        with RecordLog(path) as log:
            answered = {generation.prompt_id for generation in read_records(path, Generation)}
            missing = [prompt for prompt in prompts if prompt.id not in answered]
            with bar(title, len(prompts), done=len(prompts) - len(missing), unit="prompts") as advance:
                if not missing:
                    return
                for group in self.llm.generate(missing, seed=self.recipe.seed):
                    log.append(group)
                    advance(len(group))


def _task(given: Any) -> Task:
    demonstrations = tuple(Demonstration(d.passage, d.query) for d in given.demonstrations)
    return Task(
        given.family, given.instruction, "recipe", given.query_name, given.passage_name, demonstrations, given.weight
    )
