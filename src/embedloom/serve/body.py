"""What the endpoints take: bodies validated before anything looks at them, every fault told in one sentence."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, Field, PlainValidator, ValidationError, WithJsonSchema

from embedloom.serve.refusal import RefusedError, invalid

INPUT = "expected a text, a list of texts, the token ids of one text, or a list of those; at least one"
TOKEN_IDS = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}}
TEXT = {"type": "string"}
SCHEMA = {
    "anyOf": [
        TEXT,
        {"type": "array", "items": TEXT, "minItems": 1},
        {**TOKEN_IDS, "minItems": 1},
        {"type": "array", "items": TOKEN_IDS, "minItems": 1},
    ]
}


def _texts_or_ids(given: object) -> object:
    if isinstance(given, str):
        return given
    if isinstance(given, list) and given:
        if all(isinstance(one, str) for one in given) or _are_ids(given):
            return given
        if all(isinstance(one, list) and _are_ids(one) for one in given):
            return given
    raise ValueError(INPUT)


def _are_ids(given: list[object]) -> bool:
    # True is no token, though Python takes it for an int.
    return all(type(one) is int and 0 <= one < 2**31 for one in given)


# By hand: a union of lists would collect an error for every wrong item of a body of a million.
TextsOrIds = Annotated[
    str | list[str] | list[int] | list[list[int]], PlainValidator(_texts_or_ids), WithJsonSchema(SCHEMA)
]


class Body(BaseModel):
    """What every endpoint takes."""

    # A misspelt `instruction` that nobody reads would give other vectors without a word.
    model_config = ConfigDict(extra="forbid", strict=True)

    model: str | None = Field(None, description="The model's name; another one than the served is refused.")
    instruction: str | None = Field(None, description="What the query is for; the server's own if left out.")


class EmbeddingsBody(Body):
    """`/v1/embeddings`: OpenAI's, with the role of the texts."""

    input: TextsOrIds = Field(description="Texts, or token ids of this model's tokenizer.")
    input_type: Literal["query", "document"] | None = Field(
        None, description="What the texts are. Left out: `query` if there is an instruction, else `document`."
    )
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1, description="Keep the first so many, and renormalise.")
    truncate: bool = Field(True, description="Cut texts longer than the model reads; false refuses them.")
    user: str | None = None


class SearchBody(Body):
    """`/v1/search`: the nearest documents of the index."""

    query: str
    k: int = Field(10, ge=1, description="How many hits.")
    include_text: bool = Field(True, description="Title and text of the hits, too.")
    highlight: bool = Field(False, description="The sentence or two of each hit that are nearest to the query, too.")


class RerankText(BaseModel):
    """A document with its text under a key, as Cohere and Jina take it too."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: str


class RerankBody(Body):
    """`/v1/rerank`: documents by their cosine to a query."""

    query: str
    # Without fail-fast a body of a million wrong items would get a million error records.
    documents: Annotated[list[str | RerankText], FailFast()]
    top_n: int | None = Field(None, ge=1, description="How many results; all if left out.")
    return_documents: bool = False


class AskBody(Body):
    """`/v1/ask`: an answer from the index's passages."""

    question: str
    k: int = Field(5, ge=1, description="How many passages the language model is shown.")


class AttributeBody(Body):
    """`/v1/attribute`: the sources of a text's sentences."""

    text: str
    k: int = Field(5, ge=1, description="Documents looked at for a sentence.")
    threshold: float | None = Field(
        None, ge=-1, le=1, allow_inf_nan=False, description="Cosine of a source; the index's own if left out."
    )
    instruction: str | None = Field(None, description="What a sentence is to the model.")


class MapBody(Body):
    """`/v1/map`: documents of the index in the plane."""

    points: int = Field(2000, ge=1, description="How many documents; drawn at random where the index has more.")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Of the draw.")


B = TypeVar("B", bound=Body)


def read_body(kind: type[B], content: bytes) -> B:
    """The body of a request.

    Raises:
        RefusedError: 400; the message never repeats a text.
    """
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise _told(error, kind) from None


def _told(error: ValidationError, kind: type[Body]) -> RefusedError:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        said = first["msg"].removeprefix("Invalid JSON: ")
        return RefusedError(400, f"the body is not valid JSON ({said})", "invalid_json")
    place = [str(part) for part in first["loc"]]
    if not place:
        return invalid(f"the body is not a JSON object; expected one with {', '.join(kind.model_fields)}")
    key = place[0][:64]
    if first["type"] == "extra_forbidden" and len(place) == 1:
        return invalid(f"unknown key {key!r}; this endpoint takes {', '.join(kind.model_fields)}", key)
    if first["type"] == "missing":
        return invalid(f"key {key!r} is missing", key)
    if key == "input":
        return invalid(f"key 'input': {INPUT}", key)
    said = first["msg"].replace("Input should be", "expected")
    return invalid(f"key {key!r}: {said}", key)
