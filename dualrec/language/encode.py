"""From examples to token ids: the prompt by the code that serves it, then the answer. Knows a
tokenizer; not Ray."""

import heapq

import pyarrow as pa

from dualrec.config.settings import FinetuneSettings, LanguageSettings
from dualrec.errors import AssetError, InputError
from dualrec.language.candidates import label_tokens
from dualrec.language.examples import first_watched_candidate, likeliest_targets
from dualrec.language.models import LanguageModel
from dualrec.language.prompts.chat_template import PromptBuilder, check_chat_template
from dualrec.language.titles import filed_title

ENCODED = pa.schema(
    [
        ("user_id", pa.int64()),
        ("order", pa.uint64()),
        ("input_ids", pa.list_(pa.int32())),  # prompt and answer, with the token that ends the turn
        ("answer_start", pa.int32()),  # the position of the answer's first token
    ]
)


class ExampleEncoder:
    """Turns examples with hints into token ids.

    The answer is its movies' titles as they are filed, one a line, and the tokenizer's end token;
    `examples.likeliest_targets` chooses and orders the movies, and as published the next ones are
    taken in order. Where items are ranked, the answer is the label of
    `examples.first_watched_candidate` and nothing else.

    Args:
        folder: a Hugging Face folder with a tokenizer.
        titles: the published title of each item id.

    Raises:
        AssetError: the tokenizer has no end token or no chat template.
        SettingsError: items are to be ranked, and the tokenizer has no label for each.
        InputError: the longest answer leaves no room for a prompt, even one without movies.
    """

    def __init__(
        self,
        folder: str,
        preset: LanguageModel,
        language: LanguageSettings,
        finetune: FinetuneSettings,
        titles: dict[int, str],
    ) -> None:
        self.prompts = PromptBuilder(folder, preset, language, titles)
        tokenizer = self.prompts.tokenizer
        if tokenizer.eos_token_id is None:
            raise AssetError(
                f"{folder}: its tokenizer has no end token, so an answer could never end"
            )
        check_chat_template(tokenizer, folder)
        self.titles, self.as_published = self.prompts.titles, finetune.examples == "published"
        self.labels = (
            label_tokens(tokenizer, language.rank_candidates) if language.mode == "rank" else None
        )
        longest = 1 if self.labels else self._longest_answer(language.titles)
        budget = min(language.max_prompt_tokens, finetune.max_tokens - longest)
        self.prompts.settings = language.model_copy(update={"max_prompt_tokens": budget})
        self._check_room(budget, longest, finetune)

    def __call__(self, examples: pa.Table) -> pa.Table:
        """Return a table of schema ENCODED.

        Args:
            examples: schema EXAMPLES, with what `out_of_fold.SequenceHints` adds.
        """
        prompts = self.prompts(examples).column("tokenized_prompt").to_pylist()
        names = ("next_ids", "sequence_item_ids" if self.labels else "next_probabilities")
        answer = self._label if self.labels else self._answer
        answers = [
            answer(*row)
            for row in zip(*(examples.column(name).to_pylist() for name in names), strict=True)
        ]
        return pa.table(
            [
                examples.column("user_id"),
                examples.column("order"),
                pa.array(
                    [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)],
                    pa.list_(pa.int32()),
                ),
                pa.array([len(prompt) for prompt in prompts], pa.int32()),
            ],
            schema=ENCODED,
        )

    def _answer(self, next_ids: list[int], probabilities: list[float]) -> list[int]:
        titles = self.prompts.settings.titles
        movies = (
            next_ids[:titles]
            if self.as_published
            else likeliest_targets(next_ids, probabilities, titles)
        )
        text = "\n".join(self._title(item) for item in movies)
        return [*self._tokens(text), self.prompts.tokenizer.eos_token_id]

    def _label(self, next_ids: list[int], candidates: list[int]) -> list[int]:
        position = first_watched_candidate(next_ids, candidates)
        assert self.labels and position is not None, (
            "an example without an answer among its candidates"
        )
        return [self.labels[position]]

    def _longest_answer(self, titles: int) -> int:
        return sum(heapq.nlargest(titles, (len(self._line(item)) for item in self.titles))) + 1

    def _line(self, item: int) -> list[int]:
        return self._tokens(f"{self._title(item)}\n")

    def _title(self, item: int) -> str:
        return filed_title(self.titles[item])

    def _tokens(self, text: str) -> list[int]:
        return list(self.prompts.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _check_room(self, budget: int, longest: int, finetune: FinetuneSettings) -> None:
        nothing = pa.array([[]], pa.list_(pa.int64()))
        try:
            self.prompts(
                pa.table(
                    {"item_ids": nothing, "sequence_item_ids": pa.array([self._long_suggestions()])}
                )
            )
        except ValueError as error:
            fewer = (
                "rank fewer language.rank_candidates"
                if self.labels
                else "ask for fewer language.titles"
            )
            raise InputError(
                f"a prompt without any movie does not fit: {error}. The longest answer takes "
                f"{longest} tokens of "
                f"finetune.max_tokens ({finetune.max_tokens}), which leaves {budget}: raise "
                f"finetune.max_tokens and "
                f"language.max_prompt_tokens, or {fewer}"
            ) from error

    def _long_suggestions(self) -> list[int]:
        """The longest title for a hint; as many candidates as are ranked, each longer than nine in
        ten titles.

        Candidates are never all among the longest: room for that would be room that no prompt
            takes.
        """
        longest_first = sorted(self.titles, key=lambda item: -len(self._title(item)))
        if not self.labels:
            return longest_first[:1]
        return [longest_first[len(longest_first) // 10]] * len(self.labels)
