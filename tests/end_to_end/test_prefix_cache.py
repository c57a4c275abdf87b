"""What an engine on CPUs finds again in its prefix cache, by the tokens of the local profile's
model."""

from itertools import takewhile

import pyarrow as pa
import pytest

from dualrec.assets.fetch import resolve_model
from dualrec.config.settings import load_settings
from dualrec.language.generate import engine_options
from dualrec.language.models import PRESETS, ServedModel
from dualrec.language.prompts.chat_template import PromptBuilder

MODEL = "smollm2-135m"
TITLES = {1: "Alien (1979)", 2: "Babe (1995)", 3: "Heat (1995)", 4: "Up (2009)"}


@pytest.mark.end_to_end
@pytest.mark.parametrize("mode", ["generate", "rank"])
def test_the_instruction_that_all_prompts_share_fills_a_block(mode: str) -> None:
    settings = load_settings(None, [f"language.mode={mode}"])
    folder, preset = str(resolve_model(MODEL, settings.cache)), PRESETS[MODEL]
    users = pa.table({"item_ids": [[1, 2], [3, 4]], "sequence_item_ids": [[3, 4], [1, 2]]})
    prompts = (
        PromptBuilder(folder, preset, settings.language, TITLES)(users)
        .column("tokenized_prompt")
        .to_pylist()
    )
    block = engine_options(ServedModel(preset, location=None), settings.language)["block_size"]
    shared = list(takewhile(lambda tokens: tokens[0] == tokens[1], zip(*prompts, strict=False)))
    assert block <= len(shared) < min(map(len, prompts))
