"""The stages of the data factory: corpus, tasks, prompts, generations, examples, curated examples."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from embedloom.cli.asking import PromptFile, answers, ask, open_model, style, voice
from embedloom.cli.corpus import KNOWN_ITEM, TEXTS, is_folder_of_texts, is_text, passages_and_test, source_content
from embedloom.cli.curating import curate, parse
from embedloom.cli.pipeline import Run
from embedloom.errors import RecipeError
from embedloom.recipe import resolved
from embedloom.records import Demonstration, Document, Generation, Prompt, Reject, Task, dumps
from embedloom.run import atomic_file, read_records, write_records

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
        own_texts = is_folder_of_texts(settings.source)
        files = [
            "passages.jsonl",
            *([TEXTS] if own_texts else []),
            *(f"{KNOWN_ITEM}/{name}" for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv") if known_item),
        ]

        def work() -> dict[str, Any]:
            from embedloom.data.beir import write_beir
            from embedloom.data.sources import data_path
            from embedloom.data.text_folder import folder_documents

            figures: dict[str, Any] = {}
            # Of an earlier corpus: what stands there would be measured and indexed in place of this one.
            shutil.rmtree(self.run.folder / KNOWN_ITEM, ignore_errors=True)
            (self.run.folder / TEXTS).unlink(missing_ok=True)
            documents, test = passages_and_test(self.recipe)
            if test is not None:
                write_beir(test, self.run.folder / KNOWN_ITEM)
                figures = {"queries": len(test.queries), "documents": len(test.corpus)}
            if own_texts:
                texts = folder_documents(data_path(settings.source))
                figures["texts"] = write_records(self.run.folder / TEXTS, texts)
            if not documents:
                raise RecipeError(
                    "corpus.source holds no passage that a query could be written for; give more or longer texts"
                )
            return {"passages": write_records(self.run.folder / "passages.jsonl", documents), **figures}

        told = {**settings.model_dump(), "seed": self.recipe.seed, "content": source_content(settings.source)}
        self.run.stage("corpus", settings=told, inputs=[], files=files, work=work)

    def tasks(self) -> None:
        """The recipe's tasks, and those that the language model thinks of."""
        told = {"given": resolved(self.recipe)["tasks"], "brainstorm": self.recipe.brainstorm.model_dump()}
        told |= {"llm": voice(self.recipe), "seed": self.recipe.seed}

        def work() -> dict[str, Any]:
            from embedloom.synth.brainstorm import parse_tasks

            tasks = [_task(given) for given in self.recipe.tasks]
            rejects: list[Reject] = []
            if self.recipe.brainstorm.families:
                prompts = self.all_task_prompts()
                log = self.run.folder / TASK_LOG
                ask(self.run, lambda: self.llm, "brainstorm", prompts, log, rejects.append)
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
        answered = {reply.prompt_id for reply in answers(self.run, self.run.folder / TASK_LOG)}
        return [prompt for prompt in self.all_task_prompts() if prompt.id not in answered]

    def prompts(self) -> None:
        """Every prompt, its blanks drawn; nothing is sent."""
        settings = self.recipe.generate

        def work() -> dict[str, Any]:
            return {"prompts": write_records(self.run.folder / "prompts.jsonl", self.composed())}

        told = {**settings.model_dump(), "seed": self.recipe.seed, "llm": self.recipe.llm.model}
        inputs = ["tasks.jsonl", "passages.jsonl"]
        self.run.stage("compose", settings=told, inputs=inputs, files=["prompts.jsonl"], work=work)

    def composed(self, tasks: Sequence[Task] | None = None) -> Iterable[Prompt]:
        """The prompts of the recipe in their order, for the run's tasks or for those given."""
        from embedloom.synth.compose import compose

        settings = self.recipe.generate
        return compose(
            seed=self.recipe.seed,
            counts=settings.counts,
            style=self.style,
            tasks=list(read_records(self.run.folder / "tasks.jsonl", Task)) if tasks is None else tasks,
            languages=settings.languages or None,
            passages=self.passages(),
            grounded_language=settings.grounded_language,
            passage_words=settings.passage_words,
        )

    def generate(self) -> None:
        """Asks the language model for every prompt that has no answer on disk yet."""

        def work() -> dict[str, Any]:
            prompts = PromptFile(self.run.folder / "prompts.jsonl")
            log = self.run.folder / "generations.jsonl"
            figures = {"generations": 0, "rejects": 0, "input_tokens": 0, "output_tokens": 0}
            with atomic_file(self.run.folder / "rejects/generate.jsonl") as file:

                def reject(row: Reject) -> None:
                    file.write(dumps(row) + "\n")
                    figures["rejects"] += 1

                ask(self.run, lambda: self.llm, "generate", prompts, log, reject)
            for reply in read_records(log, Generation):
                figures["generations"] += 1
                figures["input_tokens"] += reply.input_tokens
                figures["output_tokens"] += reply.output_tokens
            return figures

        llm = self.recipe.llm
        told = {"llm": voice(self.recipe), "seed": self.recipe.seed, "budget": [llm.budget_tokens, llm.budget_money]}
        files = ["generations.jsonl", "rejects/generate.jsonl"]
        self.run.stage("generate", settings=told, inputs=["prompts.jsonl"], files=files, work=work)

    @property
    def style(self) -> str:
        """Which prompts suit the language model."""
        return style(self.recipe) or self.llm.style

    @property
    def llm(self) -> StyledLLM:
        """The recipe's language model, opened on first use."""
        if self._llm is None:
            self._llm = open_model(self.run)
        return self._llm

    def close(self) -> None:
        """Lets go of the language model, so that the trainer has its memory."""
        self._llm = None

    def passages(self) -> list[Document]:
        """The passages that queries are written for; none without a corpus."""
        path = self.run.folder / "passages.jsonl"
        return list(read_records(path, Document)) if path.exists() else []

    def stand_ins(self) -> list[Task]:
        """The recipe's tasks, and in place of those that are not brainstormed yet those that the prompts show."""
        from embedloom.synth.brainstorm import seed_tasks

        families = self.recipe.brainstorm.families
        shown = [Task(family, task, origin="shown") for family in families for task in seed_tasks(family)]
        return [*map(_task, self.recipe.tasks), *shown]

    def all_task_prompts(self) -> list[Prompt]:
        """The prompts of step 1; none where every task is given."""
        if not self.recipe.brainstorm.families:
            return []
        from embedloom.synth.brainstorm import brainstorm_prompts

        settings = self.recipe.brainstorm
        style, passages = self.style, self.passages()
        return list(
            brainstorm_prompts(
                seed=self.recipe.seed, families=settings.families, calls=settings.calls, style=style, passages=passages
            )
        )


def _task(given: Any) -> Task:
    demonstrations = tuple(Demonstration(d.passage, d.query) for d in given.demonstrations)
    return Task(
        given.family, given.instruction, "recipe", given.query_name, given.passage_name, demonstrations, given.weight
    )
