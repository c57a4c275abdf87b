"""The columns and Arrow types of every table that crosses a step.

Writers cast to these schemas and readers check against them, so that a step can trust its input.
"""

import pyarrow as pa

from dualrec.errors import InputError

INTERACTIONS = pa.schema(
    [
        ("user_id", pa.int64()),
        ("item_id", pa.int64()),
        ("rating", pa.float32()),
        ("timestamp", pa.int64()),  # seconds since 1970
        ("position", pa.int64()),  # in the file; breaks ties of the timestamp
    ]
)

CATALOG = pa.schema(
    [
        ("item_id", pa.int64()),
        ("title", pa.string()),  # as published, with the year in parentheses where there is one
        ("year", pa.int16()),  # null where unknown
        ("genres", pa.list_(pa.string())),
        ("popularity", pa.int64()),  # interactions of training users
    ]
)

HISTORIES = pa.schema(
    [
        ("user_id", pa.int64()),
        ("item_ids", pa.list_(pa.int64())),  # oldest first: by timestamp, then file order
        ("timestamps", pa.list_(pa.int64())),
        ("ratings", pa.list_(pa.float32())),
        ("split", pa.string()),  # train, validation, test
    ]
)

REQUESTS = pa.schema(
    [
        ("user_id", pa.int64()),
        ("purpose", pa.string()),  # night, or the protocol whose held-out movies are cut off
        ("decoding", pa.string()),  # free or shortlist: what the language model may write
        ("item_ids", pa.list_(pa.int64())),  # the history that the models may see, oldest first
        ("held_out", pa.list_(pa.int64())),  # the movies cut off, oldest first; empty for a night
    ]
)

PROMPTED = pa.schema(
    [
        *REQUESTS,
        (
            "sequence_item_ids",
            pa.list_(pa.int64()),
        ),  # the sequence model's best unwatched items, best first
        ("sequence_scores", pa.list_(pa.float32())),  # their probabilities
        ("prompt", pa.string()),
    ]
)

TRACES = pa.schema(
    [
        *PROMPTED,
        ("generated_text", pa.string()),
        ("prompt_tokens", pa.int32()),
        ("generated_tokens", pa.int32()),
        ("finish_reason", pa.string()),
        ("error", pa.string()),  # null unless the language model failed on this row
        (
            "titles",
            pa.list_(pa.string()),
        ),  # as the language model wrote or ranked them, in its order
        ("title_item_ids", pa.list_(pa.int64())),  # null where a title is in no catalog
        ("title_matches", pa.list_(pa.string())),  # exact, fuzzy, none
        (
            "title_similarities",
            pa.list_(pa.float32()),
        ),  # SBERT cosine to the sequence model's first choice
        (
            "title_logprobs",
            pa.list_(pa.float32()),
        ),  # log-likelihoods of ranked titles; null where it wrote them
    ]
)

RECOMMENDATIONS = pa.schema(
    [
        ("run_date", pa.date32()),
        ("user_id", pa.int64()),
        ("rank", pa.int8()),  # from 1
        ("item_id", pa.int64()),  # null where a title is in no catalog
        ("title", pa.string()),
        ("year", pa.int16()),
        ("genres", pa.list_(pa.string())),
        ("score", pa.float32()),
        ("source", pa.string()),  # sequence, language, both
        ("similar_history", pa.list_(pa.int64())),  # the watched items whose titles are nearest
    ]
)


def conform(table: pa.Table, schema: pa.Schema, what: str) -> pa.Table:
    """Return `table` with exactly the columns, order and types of `schema`.

    Raises:
        InputError: a column is missing or holds values that its type cannot hold; names `what` and
            the column.
    """
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            raise InputError(
                f"{what}: the column '{field.name}' ({field.type}) is missing; "
                f"it has {table.column_names}"
            )
        try:
            columns.append(table.column(field.name).cast(field.type))
        except (ValueError, NotImplementedError) as error:
            raise InputError(
                f"{what}: the column '{field.name}' should be {field.type}: {error}"
            ) from error
    return pa.table(columns, schema=schema)
