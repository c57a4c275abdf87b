"""Turns a GGUF file into a Hugging Face model folder: bfloat16 safetensors, and the tokenizer with
its chat template.

The weights are those of the GGUF file, so as coarse as its quantisation. About 20 s for 135 M
parameters on two cores.
"""

import os
import shutil
from pathlib import Path
from typing import Any

from dualrec.errors import AssetError


def gguf_to_folder(gguf: Path, target: Path) -> None:
    """Convert `gguf` into the new folder `target`, which appears whole or not at all.

    Raises:
        AssetError: the file is no GGUF model that transformers can read, or the folder cannot be
            written.
    """
    converting = target.with_name(f".{target.name}.converting")
    shutil.rmtree(converting, ignore_errors=True)
    try:
        converting.mkdir(parents=True)
        _convert(gguf, converting)
        os.replace(converting, target)
    except (
        OSError,
        ValueError,
        KeyError,
        IndexError,
        RuntimeError,
        NotImplementedError,
        ImportError,
    ) as error:
        raise AssetError(
            f"{gguf}: cannot be turned into a model folder: {type(error).__name__}: {error}; "
            "delete it to have it fetched again, and check that the packages gguf and transformers are installed"
        ) from error
    finally:
        shutil.rmtree(converting, ignore_errors=True)


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    model: Any = AutoModelForCausalLM.from_pretrained(
        str(gguf.parent),
        gguf_file=gguf.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    # The weights are plain now. Left in place, these two make save_pretrained and loaders take them
    # for quantised.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    model.save_pretrained(folder, max_shard_size="4GB")
    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    if not tokenizer.chat_template:
        raise ValueError("its tokenizer has no chat template")
    tokenizer.save_pretrained(folder)
