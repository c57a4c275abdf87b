"""What can be known of the models before Ray is started: their settings, folders and tokenizers.
Loads no weights.

The driver looks at models that are on its machine. Those that only a node can have are looked at
there, before anything else is done.
"""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import ray

from dualrec.assets.here import folder_here
from dualrec.assets.nodes import ModelPlace
from dualrec.config.settings import FinetuneSettings, LanguageSettings, Settings
from dualrec.data.catalog import titles_of
from dualrec.data.prepare import Prepared
from dualrec.errors import AssetError, SettingsError
from dualrec.language.artifact import served_model
from dualrec.language.endpoint import check_reachable, endpoint_key
from dualrec.language.models import (
    LanguageModel,
    check_decoding,
    check_ranking,
    check_tuned,
    language_model,
)
from dualrec.language.titles import filed_title
from dualrec.sequence.artifact import sequence_name
from dualrec.storage.workspace import Workspace

NO_TITLES = {
    0: ""
}  # a catalog that is not known yet: prompts are at least as long as with one empty title


def model_to_tune(settings: Settings) -> tuple[LanguageModel, ModelPlace]:
    """The preset and the location of the model that fine-tuning starts from.

    Raises:
        SettingsError: it is served at an endpoint.
    """
    preset, location = language_model(settings)
    if location is None:
        raise SettingsError(
            f"language.model {settings.language.model} is served at an endpoint, so there are no "
            f"weights to tune: "
            "name a model whose weights can be had"
        )
    return preset, location


def targets_of(preset: LanguageModel, settings: FinetuneSettings) -> tuple[str, ...]:
    """The layers that fine-tuning adapts."""
    return preset.target_modules if settings.target_modules is None else settings.target_modules


def check_tuning(settings: Settings, titles: dict[int, str]) -> bool:
    """Check what fine-tuning needs of its settings and, where it is on this machine, of its model.

    Args:
        titles: the published title of each item id.

    Returns:
        Whether the model is on this machine.

    Raises:
        SettingsError, AssetError, InputError: as check_tunable says; or there is no such model, it
            is served at an
            endpoint, or it cannot rank items.
    """
    preset, location = model_to_tune(settings)
    check_ranking(settings)
    folder = folder_here(location)
    if folder is not None:
        check_tunable(folder, preset, settings, titles)
    return folder is not None


def check_tunable(
    folder: Path, preset: LanguageModel, settings: Settings, titles: dict[int, str]
) -> None:
    """Find out in seconds what would fail after minutes: files, layers to adapt, end token, chat
    template, labels, room.

    Raises:
        AssetError: the folder lacks weights or a tokenizer, or the tokenizer an end token or a chat
            template.
        SettingsError: a target names no layer, or items are to be ranked and the tokenizer has no
            label for each.
        InputError: the longest answer leaves no room for a prompt.
    """
    from dualrec.language.encode import ExampleEncoder
    from dualrec.language.lora import check_model

    check_folder(folder)
    check_model(str(folder), targets_of(preset, settings.finetune))
    ExampleEncoder(str(folder), preset, settings.language, settings.finetune, titles)


def check_folder(folder: Path) -> None:
    """Raise an AssetError where a model's folder lacks weights or a tokenizer."""
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("pytorch_model*.bin")):
        raise AssetError(
            f"{folder} holds no weights (*.safetensors): name a whole model in language.model"
        )
    if not any(
        (folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")
    ):
        raise AssetError(
            f"{folder} holds no tokenizer (tokenizer.json): put the model's own there, or name a "
            f"whole model in "
            "language.model"
        )


def check_serving_settings(settings: Settings, titles: dict[int, str]) -> list[ModelPlace]:
    """Check what scoring needs, whatever is in the workspace: decoding, ranking, the endpoint's
    key, and the models.

    A base model that is merged into a fine-tuned one is not looked for.

    Args:
        titles: the published title of each item id; NO_TITLES where there is no catalog yet.

    Returns:
        The models that are not on this machine.

    Raises:
        SettingsError: the language model cannot be held to a shortlist, cannot rank items, or
            cannot be fine-tuned; or
            as check_prompts says.
        EndpointError: the environment holds no key for the endpoint.
        AssetError: there is no such language model or sentence encoder, or as check_prompts says.
    """
    check_decoding(settings)
    check_ranking(settings)
    check_tuned(settings)
    encoder = ModelPlace.named(settings.rerank.model, settings)
    elsewhere = [encoder] if folder_here(encoder) is None else []
    preset, location = language_model(settings)
    if location is None:
        endpoint_key(settings.language.endpoint)
    elif settings.language.tuned is None:
        elsewhere += _check_location(location, preset, settings, titles)
    return elsewhere


def check_serving(workspace: Workspace, data: Prepared, settings: Settings) -> list[ModelPlace]:
    """Check what scoring needs, before Ray is started.

    Returns:
        The models that are not on this machine.

    Raises:
        WorkspaceError: the sequence model has not been trained, or the language model not
            fine-tuned as it should be.
        EndpointError: nobody answers at the endpoint, or as check_serving_settings says.
        SettingsError, AssetError: as check_serving_settings says.
    """
    workspace.require(sequence_name(data, settings), "train-sequence")
    titles = titles_of(data.catalog)
    elsewhere = check_serving_settings(settings, titles)
    model = served_model(workspace, data, settings)
    if model.location is None:
        check_reachable(settings.language.endpoint)
    elif settings.language.tuned is not None:
        elsewhere += _check_location(model.location, model.preset, settings, titles)
    return elsewhere


def _check_location(
    location: ModelPlace, preset: LanguageModel, settings: Settings, titles: dict[int, str]
) -> list[ModelPlace]:
    """Check the prompts of a model that is on this machine; one that is not is returned."""
    folder = folder_here(location)
    if folder is None:
        return [location]
    check_prompts(folder, preset, settings.language, titles)
    return []


def check_prompts(
    folder: Path, preset: LanguageModel, settings: LanguageSettings, titles: dict[int, str]
) -> None:
    """Make the prompt of a user without a history, with suggestions of ordinary length.

    Raises:
        AssetError: the tokenizer has no chat template, or one that makes no prompt.
        SettingsError: the prompt does not fit, or items are to be ranked and the tokenizer has no
            label for each.
    """
    from dualrec.language.candidates import label_tokens
    from dualrec.language.prompts.chat_template import PromptBuilder, check_chat_template

    prompts = PromptBuilder(str(folder), preset, settings, titles)
    check_chat_template(prompts.tokenizer, str(folder))
    ranks = settings.mode == "rank"
    if ranks:
        label_tokens(prompts.tokenizer, settings.rank_candidates)
    by_length = sorted(titles, key=lambda item: len(filed_title(titles[item])))
    suggested = by_length[len(by_length) // 2 :][:1] * (settings.rank_candidates if ranks else 1)
    user = {
        "item_ids": pa.array([[]], pa.list_(pa.int64())),
        "sequence_item_ids": pa.array([suggested]),
    }
    try:
        prompts(pa.table(user))
    except ValueError as error:
        fewer = "rank fewer language.rank_candidates" if ranks else "set language.hint=false"
        raise SettingsError(
            f"a prompt without any movie does not fit: {error}: raise language.max_prompt_tokens, "
            f"or {fewer}"
        ) from error


def check_on_a_node(locations: Iterable[ModelPlace]) -> None:
    """Find out on a node that models can be had which are not on this machine. Needs a Ray session.

    Raises:
        AssetError: one cannot be had there.
    """
    ray.get([_bring.remote(location) for location in dict.fromkeys(locations)])


@ray.remote(num_cpus=0.1)
def _bring(location: ModelPlace) -> None:
    location.folder()
