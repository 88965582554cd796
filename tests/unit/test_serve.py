"""The endpoints as clients meet them: OpenAI's own client, roles, token ids, search, reranking, and what is counted."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from embedloom.errors import FingerprintError
from embedloom.model.encoder import Encoder, open_encoder
from embedloom.model.inputs import token_ids
from embedloom.records import Document
from embedloom.search.index import VectorIndex, create_index
from embedloom.serve.app import make_app
from embedloom.serve.service import Service
from fakes import HashEmbedder
from tiny import save_tiny, texts_that_are_hard
from word_embedder import WordEmbedder

TOPIC = "Given a topic, retrieve texts about it"
DOCUMENTS = [
    Document("d1", "red foxes jump over fences", "Foxes"),
    Document("d2", "boats wait for wind"),
    Document("d3", "bread and stone and fire"),
]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return open_encoder(save_tiny(tmp_path_factory.mktemp("model"), "gemma3"), name="tiny", max_length=64)


@pytest.fixture(scope="module")
def http(encoder: Encoder) -> Iterator[TestClient]:
    with TestClient(make_app(Service(encoder, instruction=TOPIC))) as client:
        yield client


@pytest.fixture(scope="module")
def client(http: TestClient) -> openai.OpenAI:
    return openai.OpenAI(base_url="http://testserver/v1", api_key="any", http_client=http, max_retries=0)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> VectorIndex:
    return create_index(tmp_path_factory.mktemp("served") / "index", DOCUMENTS, WordEmbedder(), instruction=TOPIC)


@pytest.fixture(scope="module")
def words(index: VectorIndex) -> Iterator[TestClient]:
    with TestClient(make_app(Service(WordEmbedder(), index=index))) as client:
        yield client


def vectors(answer: Any) -> np.ndarray:
    return np.array([row.embedding for row in answer.data], dtype=np.float32)


def posted(http: TestClient, path: str, body: Any) -> Any:
    answer = http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("form", ["float", "base64"])
def test_the_official_client_gets_the_encoders_vectors(client: openai.OpenAI, encoder: Encoder, form: Any) -> None:
    texts = list(texts_that_are_hard())
    answer = client.embeddings.create(model="tiny", input=texts, encoding_format=form)
    rows = token_ids(texts, encoder.tokenizer, encoder.contract)
    if form == "base64":
        found = np.array([np.frombuffer(base64.b64decode(str(row.embedding)), "<f4") for row in answer.data])
    else:
        found = vectors(answer)
    np.testing.assert_allclose(found, encoder.encode_documents(texts), atol=1e-5)
    assert [row.index for row in answer.data] == list(range(len(texts)))
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == sum(map(len, rows))
    assert answer.model == "tiny"
    assert answer.model_extra == {"system_fingerprint": encoder.fingerprint}


def test_a_single_text_by_the_clients_own_defaults(client: openai.OpenAI, encoder: Encoder) -> None:
    answer = client.embeddings.with_raw_response.create(model="tiny", input="the red fox")
    assert answer.headers["x-embedloom-fingerprint"] == encoder.fingerprint
    np.testing.assert_allclose(vectors(answer.parse()), encoder.encode_documents(["the red fox"]), atol=1e-5)


@pytest.mark.parametrize("framed", [False, True])
def test_token_ids_give_the_vectors_of_their_text(client: openai.OpenAI, encoder: Encoder, framed: bool) -> None:
    texts = ["the red fox", "boats wait for wind, 東京", ""]
    ids = token_ids(texts, encoder.tokenizer, encoder.contract)
    lists = ids if framed else [row[1:-1] for row in ids]
    expected = encoder.encode_documents(texts)
    answer = client.embeddings.create(model="tiny", input=lists)
    np.testing.assert_allclose(vectors(answer), expected, atol=1e-5)
    assert answer.usage.prompt_tokens == sum(map(len, ids))
    np.testing.assert_allclose(vectors(client.embeddings.create(model="tiny", input=lists[0])), expected[:1], atol=1e-5)
    asked = client.embeddings.create(model="tiny", input=lists, extra_body={"instruction": "Find it"})
    np.testing.assert_allclose(vectors(asked), encoder.encode_queries(texts, "Find it"), atol=1e-5)


def test_token_ids_of_another_tokenizer_are_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=r"token id 100257 is beyond .*check_embedding_ctx_length=False"):
        client.embeddings.create(model="tiny", input=[[5, 100257]])


@pytest.mark.parametrize(
    ("extra", "instruction"),
    [
        ({"input_type": "query"}, TOPIC),
        ({"input_type": "query", "instruction": "Find it"}, "Find it"),
        ({"instruction": "Find it"}, "Find it"),
        ({"input_type": "query", "instruction": ""}, ""),
        ({"input_type": "document"}, None),
        ({"instruction": ""}, None),
    ],
)
def test_roles(client: openai.OpenAI, encoder: Encoder, extra: dict[str, str], instruction: str | None) -> None:
    texts = ["red fox", "boats"]
    answer = client.embeddings.create(model="tiny", input=texts, extra_body=extra)
    if instruction is None:
        expected = encoder.encode_documents(texts)
    else:
        expected = encoder.encode_queries(texts, instruction)
    np.testing.assert_allclose(vectors(answer), expected, atol=1e-5)


def test_dimensions_are_cut_and_renormalised(client: openai.OpenAI, encoder: Encoder) -> None:
    found = vectors(client.embeddings.create(model="tiny", input=["red fox", "boats"], dimensions=5))
    whole = encoder.encode_documents(["red fox", "boats"])[:, :5]
    np.testing.assert_allclose(found, whole / np.linalg.norm(whole, axis=1, keepdims=True), atol=1e-5)
    with pytest.raises(openai.BadRequestError, match="dimensions is 33; this model has 32"):
        client.embeddings.create(model="tiny", input="red fox", dimensions=33)


def test_a_text_longer_than_the_model_reads_is_cut_or_refused(client: openai.OpenAI, encoder: Encoder) -> None:
    texts = ["red fox", "boats wait for wind " * 40]
    assert vectors(client.embeddings.create(model="tiny", input=texts)).shape == (2, 32)
    with pytest.raises(openai.UnprocessableEntityError, match="text 1 is longer than the 64 tokens"):
        client.embeddings.create(model="tiny", input=texts, extra_body={"truncate": False})
    fits = encoder.tokenizer.decode(token_ids(texts, encoder.tokenizer, encoder.contract)[1][1:-1])
    client.embeddings.create(model="tiny", input=fits, extra_body={"truncate": False})


def test_requests_that_share_a_pass_get_the_vectors_they_get_alone(client: openai.OpenAI, encoder: Encoder) -> None:
    def ask(number: int) -> np.ndarray:
        texts = [f"fox {number} " * (1 + (number + row) % 9) for row in range(1 + number % 3)]
        extra = {"instruction": f"Find {number}"} if number % 2 else {}
        found = vectors(client.embeddings.create(model="tiny", input=texts, extra_body=extra))
        alone = [
            encoder.encode_queries([text], f"Find {number}") if number % 2 else encoder.encode_documents([text])
            for text in texts
        ]
        return np.abs(found - np.concatenate(alone)).max()

    with ThreadPoolExecutor(8) as pool:
        assert max(pool.map(ask, range(48))) < 1e-5


def test_models_and_names(client: openai.OpenAI, encoder: Encoder) -> None:
    [model] = client.models.list().data
    assert model.id == "tiny"
    assert model.model_extra is not None
    assert model.model_extra["system_fingerprint"] == encoder.fingerprint
    assert (model.model_extra["dimension"], model.model_extra["max_tokens"]) == (32, 64)
    assert client.models.retrieve("tiny") == model
    with pytest.raises(openai.NotFoundError, match="this server has 'tiny'"):
        client.models.retrieve("text-embedding-3-small")
    with pytest.raises(openai.NotFoundError, match="this server has 'tiny'"):
        client.embeddings.create(model="text-embedding-3-small", input="x")


def test_search_gives_the_hits_of_the_index(words: TestClient, index: VectorIndex) -> None:
    answer = posted(words, "/v1/search", {"query": "wind for boats", "k": 2})
    [hits] = index.search(["wind for boats"], WordEmbedder(), k=2)
    assert [(row["id"], row["index"]) for row in answer["data"]] == [(h.document_id, n) for n, h in enumerate(hits)]
    np.testing.assert_allclose([row["score"] for row in answer["data"]], [hit.score for hit in hits], atol=1e-5)
    assert answer["data"][0]["text"] == "boats wait for wind"
    assert answer["system_fingerprint"] == "w0"
    bare = posted(words, "/v1/search", {"query": "jump red", "include_text": False})["data"]
    assert [set(row) for row in bare] == [{"index", "id", "score"}] * 3
    assert bare[0]["id"] == "d1"


def test_a_search_for_nothing_is_refused(words: TestClient) -> None:
    answer = words.post("/v1/search", json={"query": " "})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "query")


def test_search_takes_the_index_own_instruction_unless_one_is_given(index: VectorIndex) -> None:
    embedder = WordEmbedder()
    with TestClient(make_app(Service(embedder, index=index))) as http:
        posted(http, "/v1/search", {"query": "boats"})
        posted(http, "/v1/search", {"query": "boats", "instruction": "Other"})
        posted(http, "/v1/search", {"query": "boats", "instruction": ""})
    assert embedder.asked == [("query", TOPIC, 1), ("query", "Other", 1), ("query", "", 1)]


def test_search_without_an_index_and_beyond_the_limit(http: TestClient, words: TestClient) -> None:
    assert http.post("/v1/search", json={"query": "x"}).status_code == 404
    answer = words.post("/v1/search", json={"query": "x", "k": 1001})
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "k")


def test_an_index_of_another_model_is_refused_at_the_start(index: VectorIndex) -> None:
    with pytest.raises(FingerprintError, match="holds vectors of words"):
        Service(HashEmbedder(), index=index)


def test_rerank_orders_by_cosine(http: TestClient, encoder: Encoder) -> None:
    texts = ["boats wait", "red fox", "old sea", "red fox"]
    body = {"query": "red foxes", "documents": [*texts[:3], {"text": texts[3]}], "instruction": "Find it"}
    cosine = encoder.encode_documents(texts) @ encoder.encode_queries(["red foxes"], "Find it")[0]
    results = posted(http, "/v1/rerank", body)["results"]
    assert [row["index"] for row in results] == sorted(range(4), key=lambda n: (-round(float(cosine[n]), 5), n))
    np.testing.assert_allclose([row["relevance_score"] for row in results], sorted(cosine, reverse=True), atol=1e-5)
    best = posted(http, "/v1/rerank", body | {"top_n": 2, "return_documents": True})
    expected = [row | {"document": {"text": texts[row["index"]]}} for row in results[:2]]
    assert best["results"] == expected
    rows = token_ids([*texts, "Instruct: Find it\nQuery: red foxes"], encoder.tokenizer, encoder.contract)
    assert best["usage"]["total_tokens"] == sum(map(len, rows))


def test_metrics_count_what_was_served(encoder: Encoder) -> None:
    with TestClient(make_app(Service(encoder))) as http:
        tokens = posted(http, "/v1/embeddings", {"input": ["red fox", "boats " * 200]})["usage"]["total_tokens"]
        http.post("/v1/embeddings", content=b"{")
        families = {f.name: f for f in text_string_to_metric_families(http.get("/metrics").text)}
    values = {(s.name, *sorted(s.labels.values())): s.value for f in families.values() for s in f.samples}
    assert values["embedloom_requests_total", "200", "embeddings"] == 1
    assert values["embedloom_requests_total", "400", "embeddings"] == 1
    assert values["embedloom_request_seconds_count", "embeddings"] == 2
    assert values["embedloom_tokens_total", "embeddings"] == tokens
    assert values["embedloom_texts_total", "embeddings"] == 2
    assert values[("embedloom_truncated_texts_total",)] == 1
    assert values[("embedloom_batch_texts_sum",)] == 2
    assert values[("embedloom_batch_tokens_sum",)] == tokens
    assert values[("embedloom_queue_texts",)] == 0
    assert values["embedloom_model_info", *sorted(["tiny", encoder.fingerprint])] == 1


def test_health_says_when_it_takes_no_more() -> None:
    service = Service(HashEmbedder())
    with TestClient(make_app(service)) as http:
        assert (http.get("/healthz").status_code, http.get("/healthz").json()) == (200, {"alive": True, "ready": True})
        service.close()
        assert (http.get("/healthz").status_code, http.get("/healthz").json()["ready"]) == (503, False)
        refused = http.post("/v1/embeddings", json={"input": "x"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
        assert "retry-after" in refused.headers


def test_the_description_names_every_endpoint_and_its_body(http: TestClient) -> None:
    description = http.get("/openapi.json").json()
    assert set(description["paths"]) == {
        "/v1/embeddings", "/v1/search", "/v1/rerank", "/v1/ask", "/v1/attribute", "/v1/map", "/v1/models", "/healthz",
        "/metrics",
    }  # fmt: skip
    for path in ("/v1/embeddings", "/v1/search", "/v1/rerank", "/v1/ask", "/v1/attribute", "/v1/map"):
        reference = description["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        body = description["components"]["schemas"][reference.rpartition("/")[2]]
        assert body["additionalProperties"] is False
        given = {key: ["x"] if key == "documents" else "x" for key in body.get("required", ())}
        unknown = http.post(path, json=given | {"nonsense": 1}).json()["error"]
        assert (unknown["param"], "takes model" in unknown["message"]) == ("nonsense", True)


def test_the_page_stands_alone(http: TestClient) -> None:
    page = http.get("/")
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert re.search(r"style-src 'sha256-[\w+/]+=*'; script-src 'sha256-[\w+/]+=*';", policy)
    assert "unsafe" not in policy
    assert page.text.count("<script") == 1
    assert "http:" not in page.text.replace("http-equiv", "")
    assert "https:" not in page.text
    for way in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "style=", "onclick"):
        assert way not in page.text


def test_an_embedder_that_takes_text_alone_refuses_token_ids(words: TestClient) -> None:
    answer = words.post("/v1/embeddings", json={"input": [[1, 2]]})
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "this model takes text, not token ids")
    rows = posted(words, "/v1/embeddings", {"input": ["boats wait", "foxes"]})["data"]
    np.testing.assert_allclose(
        [row["embedding"] for row in rows], WordEmbedder().encode_documents(["boats wait", "foxes"]), atol=1e-6
    )
