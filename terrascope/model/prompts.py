"""From a question about a window to token ids: images first, dated and named, then the question."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from terrascope.model.sequences import Query, read_dates
from terrascope.model.tokenization_nano import NanoTokenizer, SpecialIds
from terrascope.model.windows import Windows
from terrascope.vocabulary import Token

__all__ = ["compose_query", "text_of", "token_ids"]

SENSOR_WORDS = ("optical", "radar")


def token_ids(tokenizer: PreTrainedTokenizerBase, text: str, *, specials: bool = True) -> list[int]:
    """Tokenize without adding anything.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
        The nano's, or another.
    text : str
        Anything.
    specials : bool
        False for what a user wrote: ``[SEG]`` is five letters then.

    Returns
    -------
    ids : list of int
        Token ids.
    """
    if isinstance(tokenizer, NanoTokenizer):
        return tokenizer.ids(text, specials=specials)
    ids: list[int] = tokenizer.encode(
        text, add_special_tokens=False, split_special_tokens=not specials
    )
    return ids


def text_of(tokenizer: PreTrainedTokenizerBase) -> Callable[[list[int]], str]:
    """Return the function that turns ids back into text, special tokens by name.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
        The nano's, or another.

    Returns
    -------
    text : callable
        Of a list of ids.
    """
    if isinstance(tokenizer, NanoTokenizer):
        return tokenizer.text

    def text(ids: list[int]) -> str:
        return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))

    return text


def compose_query(
    tokenizer: PreTrainedTokenizerBase,
    windows: Windows,
    window: int,
    question: str,
    response: str | Sequence[int] = "",
    *,
    taught: Sequence[bool] | None = None,
    present: Tensor | None = None,
    around_images: tuple[str, str] = ("", ""),
    around_prompt: tuple[str, str] = (Token.BOS.value, "\n"),
) -> Query:
    """Write the prompt of one question.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
        With the tokens of `terrascope.vocabulary.SPECIAL_TOKENS`.
    windows : Windows
        The batch; the images that exist are read from it.
    window : int
        Which one.
    question : str
        In the user's words: special tokens in it are letters.
    response : str or sequence of int
        To be taught or forced; text is ours, so special tokens in it count.
    taught : sequence of bool or None
        As in `Query`.
    present : Tensor of bool or None, shape (B, T, S)
        Images that the backbone sees (`Encoded.present`); None for `Windows.present`, which is
        the same for the nano. A picture of three bands lacks more.
    around_images : tuple of str
        Before and after every image, where a language model was trained with such marks.
    around_prompt : tuple of str
        Before the images, and between question and response: the frame of a chat, in the words
        of the language model.

    Returns
    -------
    query : Query
        With the dates of its masks read from the response.
    """
    opening, closing = around_prompt
    before, after = around_images
    prompt = token_ids(tokenizer, opening)
    seen = windows.present if present is None else present
    for date, sensors in enumerate(seen[window].tolist()):
        for sensor, there in enumerate(sensors):
            if there:
                name = f"Image: t_{date + 1} {SENSOR_WORDS[sensor]} "
                prompt += token_ids(tokenizer, f"{name}{before}{Token.IMAGE.value}{after}\n")
    start = len(prompt)
    prompt += token_ids(tokenizer, question, specials=False)
    end = len(prompt)
    prompt += token_ids(tokenizer, closing)
    said = token_ids(tokenizer, response) if isinstance(response, str) else list(response)
    seg = SpecialIds.of(tokenizer).seg
    dates = read_dates(said, seg, int(windows.date_count[window]), text_of(tokenizer))
    return Query(window, prompt, (start, end), said, taught, dates)
