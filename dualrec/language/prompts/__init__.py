"""What the language model reads: the texts of its prompts, special tokens, the chat template."""
