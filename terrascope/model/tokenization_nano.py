"""The small tokenizer of terrascope-nano: the words of the task, and bytes for all else.

Text is the concatenation of its tokens, so text may be tokenized in pieces and
put together by ids. Numbers are spelled digit by digit, because a model copies
and compares digits more easily than chunks of them. A word is one token with
or without the space before it; any other text falls back to its UTF-8 bytes,
so that every string comes back as it was.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers import AddedToken, PreTrainedTokenizer, PreTrainedTokenizerBase

from terrascope.vocabulary import (
    BUILDING_CLASSES,
    CHANGE_NAMES,
    LAND_COVER,
    POSITIONS,
    SPECIAL_TOKENS,
    Token,
    Unit,
)

__all__ = ["DATE_TOKENS", "WORDS", "NanoTokenizer", "SpecialIds"]

DATE_TOKENS = 32
"""Dates t_1 to t_32 are one token each; later ones are spelled."""

_PROSE = """
    a above absent across after against all almost also among an and answer any appear appeared are
    area areas as at away back because become becomes before below beside between both boundary
    bottom building buildings but by can center change changed changes class classes clear cleared
    close closer cloud clouds color compare compared contain contains count cover coverage covered
    covers cut damaged dark date dates days decrease decreased destroyed developed did different
    disappeared distance do does dry each east edge empty equal equals estimate exist expected
    farther few field fields find first flood flooded following for forest found fraction from
    gain gained grew ground had has have high hold holds how identify if image images in increase
    increased inside interval into is it its kind kinds known land large larger largest last later
    least left less level lies light list lies location long look loss lost low lower many map mask
    masks meet meets metre metres middle missing month more most mostly much nearest new next no
    north not nothing now number objects observed occur occurred of off on one only optical option
    options or other outside over part parts patch patches percent period pixel pixels place places
    position present question radar reach region regions remain remained right river road row
    same scene seen separate several share shortest shown shows shrank side since size small smaller
    smallest so some south square stand still stood than that the their them then there these they
    this those to together top total touch touches two type under unknown until up upper very
    visible was water way were west what when where which whole width wide window with within
    without year years yes column specks
"""

_OPENERS = """
    All Answer Are Because Between Both By Choose Compare Count Date Dates Describe Did Does
    Estimate Find From Give Has Have How Identify Image Images In Is It Locate Look Map Measure
    No Not Of On Options Question Radar Share Since So The Then There These They This Thus To
    Two Was Were What When Where Which Yes
"""


_LATER = """
    Do Nothing Show afterwards been burnt crops cropland deforestation far fire forests grassland
    lie meadow open roads show shrubland shrubs surface trees vegetation wetlands
"""
"""Words that came later: at the end, so that the others keep their order."""

_SHORT = "%maABCDEFGH"
"""Single characters that are a token of their own also with the space before them."""


def _words() -> tuple[str, ...]:
    """Collect the closed vocabulary, each word once, in an order that never depends on a set."""
    names = " ".join((*LAND_COVER, *BUILDING_CLASSES, *CHANGE_NAMES.values(), *POSITIONS))
    units = [unit.value for unit in Unit if unit.value.isalnum()]
    months = "January February March April May June July August September October November December"
    dates = [f"t_{number}" for number in range(1, DATE_TOKENS + 1)]
    listed = [*dates, "Image:", *units, *names.split(), *_PROSE.split(), *_OPENERS.split()]
    every = dict.fromkeys((*listed, *months.split(), *_LATER.split()))
    return tuple(word for word in every if len(word) > 1)


WORDS = _words()
"""The closed vocabulary; every word exists with and without a space before it."""

_PIECE = re.compile(r" ?(?:Image:|t_[0-9]+(?![0-9])|k?m2(?![A-Za-z0-9])|[A-Za-z]+|%)|.", re.DOTALL)
_SPECIAL = re.compile("|".join(re.escape(token) for token in SPECIAL_TOKENS))


def _byte_name(value: int) -> str:
    """Name the token of a byte: the character itself where it is printable ASCII."""
    return chr(value) if 32 <= value < 127 else f"<0x{value:02X}>"


def _vocabulary() -> dict[str, int]:
    """Give the tokens ids: special ones, bytes, words with a space, words without."""
    names = [*SPECIAL_TOKENS, *(_byte_name(value) for value in range(256))]
    names += [f" {word}" for word in (*WORDS, *_SHORT)] + list(WORDS)
    return {name: number for number, name in enumerate(names)}


class NanoTokenizer(PreTrainedTokenizer):
    """Tokenizer of terrascope-nano.

    Parameters
    ----------
    vocab_file : str or None
        JSON object of token names to ids, as written by `save_pretrained`;
        None for the vocabulary of this version of the package.
    **kwargs : Any
        As `transformers.PreTrainedTokenizer`.

    Raises
    ------
    ValueError
        If `vocab_file` lacks a special token or a byte.

    Notes
    -----
    `ids` and `text` are the plain, fast pair; the methods of transformers
    (`__call__`, `encode`, `decode`, `convert_*`) give the same ids.
    """

    vocab_files_names = {"vocab_file": "vocab.json"}  # noqa: RUF012 -- declared by transformers
    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012

    def __init__(self, vocab_file: str | None = None, **kwargs: Any) -> None:
        if vocab_file is None:
            self.encoder = _vocabulary()
        else:
            self.encoder = json.loads(Path(vocab_file).read_text(encoding="utf-8"))
        self._byte_ids = _byte_ids(self.encoder)
        self.decoder = {number: name for name, number in self.encoder.items()}
        self._bytes = {number: _bytes_of(name) for number, name in self.decoder.items()}
        given = {"pad_token": Token.PAD.value, "bos_token": Token.BOS.value} | kwargs
        given.setdefault("eos_token", Token.EOS.value)
        given.setdefault("extra_special_tokens", list(SPECIAL_TOKENS[3:]))
        given.setdefault("clean_up_tokenization_spaces", False)
        given.setdefault("spaces_between_special_tokens", False)
        self._added_tokens_decoder = {
            self.encoder[name]: AddedToken(name, special=True, normalized=False)
            for name in SPECIAL_TOKENS
        }
        given.pop("added_tokens_decoder", None)
        super().__init__(**given)  # type: ignore[no-untyped-call]

    @property
    def vocab_size(self) -> int:
        """Number of tokens, special ones included."""
        return len(self.encoder)

    def get_vocab(self) -> dict[str, int]:
        """Return all token names with their ids.

        Returns
        -------
        vocabulary : dict
            A copy.
        """
        return dict(self.encoder)

    def ids(self, text: str, *, specials: bool = True) -> list[int]:
        """Tokenize text.

        Parameters
        ----------
        text : str
            Anything.
        specials : bool
            Read ``[SEG]`` and its like as the special tokens they name. False for
            what a user wrote: there they are letters like any other.

        Returns
        -------
        ids : list of int
            No token is added at either end.
        """
        if not specials:
            return self._plain_ids(text)
        ids: list[int] = []
        start = 0
        for found in _SPECIAL.finditer(text):
            ids += self._plain_ids(text[start : found.start()])
            ids.append(self.encoder[found[0]])
            start = found.end()
        return ids + self._plain_ids(text[start:])

    def text(self, ids: Iterable[int], *, specials: bool = True) -> str:
        """Return the text of tokens.

        Parameters
        ----------
        ids : iterable of int
            Of this tokenizer.
        specials : bool
            Write special tokens by their names; False leaves them out.

        Returns
        -------
        text : str
            Bytes that are no UTF-8 become the replacement character.

        Raises
        ------
        KeyError
            If an id is not in the vocabulary.
        """
        hidden = () if specials else self._added_tokens_decoder
        raw = b"".join(self._bytes[int(number)] for number in ids if int(number) not in hidden)
        try:
            return raw.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return raw.decode("utf-8", "replace")

    def _plain_ids(self, text: str) -> list[int]:
        """Tokenize text in which nothing is special: longest word first, else bytes."""
        ids: list[int] = []
        for found in _PIECE.finditer(text):
            piece = found[0]
            number = self.encoder.get(piece) if len(piece) > 1 else None
            if number is not None:
                ids.append(number)
            elif piece[0] == " " and len(piece) > 2 and piece[1:] in self.encoder:
                ids += (self._byte_ids[32], self.encoder[piece[1:]])
            else:
                ids += [self._byte_ids[value] for value in piece.encode("utf-8", "surrogatepass")]
        return ids

    def _tokenize(self, text: str, **_: Any) -> list[str]:
        return [self.decoder[number] for number in self._plain_ids(text)]

    def _convert_token_to_id(self, token: str) -> int:
        return self.encoder[token]

    def _convert_id_to_token(self, index: int) -> str:
        return self.decoder[index]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Return the text of token names.

        Parameters
        ----------
        tokens : list of str
            As `tokenize` gives them.

        Returns
        -------
        text : str
            Their concatenation.
        """
        return self.text(self.encoder[token] for token in tokens)

    def _decode(
        self,
        token_ids: int | list[int],
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        **_: Any,
    ) -> str:
        numbers = [token_ids] if isinstance(token_ids, int) else token_ids
        return self.text(numbers, specials=not skip_special_tokens)

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """Return the ids as they are: prompts are built piece by piece, nothing is added.

        Parameters
        ----------
        token_ids_0 : list of int
            A text.
        token_ids_1 : list of int or None
            A text that follows.

        Returns
        -------
        ids : list of int
            One after the other.
        """
        return token_ids_0 + (token_ids_1 or [])

    def save_vocabulary(
        self, save_directory: str, filename_prefix: str | None = None
    ) -> tuple[str, ...]:
        """Write the vocabulary.

        Parameters
        ----------
        save_directory : str
            An existing folder.
        filename_prefix : str or None
            Put before the file's name, with a dash.

        Returns
        -------
        files : tuple of str
            The JSON file.
        """
        name = f"{filename_prefix}-vocab.json" if filename_prefix else "vocab.json"
        file = Path(save_directory) / name
        file.write_text(json.dumps(self.encoder, ensure_ascii=False, indent=0), encoding="utf-8")
        return (str(file),)


@dataclasses.dataclass(frozen=True)
class SpecialIds:
    """Ids of the special tokens in one tokenizer.

    Parameters
    ----------
    pad, bos, eos, seg, image, think, think_end, answer, answer_end, measure, measure_end : int
        By the names of `terrascope.vocabulary.Token`; where a foreign tokenizer
        has no token of its own to begin a text with, `bos` is -1.
    """

    pad: int
    bos: int
    eos: int
    seg: int
    image: int
    think: int
    think_end: int
    answer: int
    answer_end: int
    measure: int
    measure_end: int

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> SpecialIds:
        """Look the tokens up.

        Parameters
        ----------
        tokenizer : PreTrainedTokenizerBase
            `NanoTokenizer`, or another to which the tokens of
            `terrascope.vocabulary.SPECIAL_TOKENS` were added; its own padding,
            beginning and end are used where it has them.

        Returns
        -------
        ids : SpecialIds
            All different, except that padding may be the end.

        Raises
        ------
        ValueError
            If a token is missing; the message names it.
        """
        known = tokenizer.get_vocab()
        own = {
            Token.PAD: tokenizer.pad_token_id,
            Token.BOS: tokenizer.bos_token_id,
            Token.EOS: tokenizer.eos_token_id,
        }
        found: dict[str, int] = {}
        for token in Token:
            number = own.get(token)
            number = known.get(token.value) if number is None else number
            if number is None and token is Token.BOS:
                number = -1
            if number is None:
                raise ValueError(
                    f"the tokenizer has no {token.value}: add the tokens of "
                    "terrascope.vocabulary.SPECIAL_TOKENS to it first"
                )
            found[token.name.lower()] = int(number)
        return cls(**found)


def _byte_ids(encoder: dict[str, int]) -> list[int]:
    """Return the ids of the 256 bytes, and complain of a vocabulary that lacks one."""
    needed = [*SPECIAL_TOKENS, *(_byte_name(value) for value in range(256))]
    missing = [name for name in needed if name not in encoder]
    if missing:
        raise ValueError(f"the vocabulary lacks {missing[:5]}: expected special tokens and bytes")
    return [encoder[_byte_name(value)] for value in range(256)]


def _bytes_of(name: str) -> bytes:
    """Return what a token stands for."""
    if name.startswith("<0x") and name.endswith(">") and len(name) == 6:
        return bytes([int(name[3:5], 16)])
    return name.encode("utf-8")
