"""One configuration class for both sizes of the model, saved beside the weights."""

from __future__ import annotations

from typing import Any

from transformers import CONFIG_MAPPING, PreTrainedConfig, PreTrainedTokenizerBase

from terrascope.model.tokenization_nano import SpecialIds

__all__ = ["BACKBONES", "INJECTIONS", "NanoConfig", "TerrascopeConfig"]

BACKBONES = ("nano", "internvl")
INJECTIONS = ("mask", "box", "random", "none")


class NanoConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """Sizes of the nano backbone.

    Parameters
    ----------
    window_size : int
        Side of a window in pixels; a multiple of `patch_size`. Other windows that are multiples
        of it run too.
    patch_size : int
        Side of the ground cell of one visual token, in pixels: a power of 2, at least 4.
    optical_bands, radar_bands : int
        Channels, in the order of ``terrascope.sensors``.
    optical_mean, optical_scale : float
        Reflectance is normalised to ``(x - mean) / scale``.
    radar_mean, radar_scale : float
        Backscatter in dB, likewise.
    stem_channels : int
        Width of the features at full resolution; doubled with every halving, up to `vision_size`.
    vision_size, vision_layers, vision_heads : int
        Transformer over the cells of one image.
    pixel_size : int
        Channels of the per-pixel features that masks are read from.
    query_size, query_layers, query_heads : int
        Transformer that carries the state of ``[SEG]`` into the image.
    hidden_size, layers, heads, mlp_size : int
        Language model.
    vocab_size : int or None
        Rows of the (tied) token embedding: as many as the tokenizer has tokens. There is no
        default that fits; a model is not built without.
    rope_theta : float
        Base of the rotary position embedding.
    dropout : float
        In the transformers and the query, in training and for Monte Carlo dropout.
    initializer_range : float
        Standard deviation of fresh linear weights.
    """

    model_type = "terrascope_nano"
    base_config_key = "nano_config"

    window_size: int = 128
    patch_size: int = 8
    optical_bands: int = 12
    radar_bands: int = 2
    optical_mean: float = 0.2
    optical_scale: float = 0.15
    radar_mean: float = -14.0
    radar_scale: float = 6.0
    stem_channels: int = 32
    vision_size: int = 192
    vision_layers: int = 4
    vision_heads: int = 3
    pixel_size: int = 32
    query_size: int = 128
    query_layers: int = 2
    query_heads: int = 2
    hidden_size: int = 256
    layers: int = 5
    heads: int = 4
    mlp_size: int = 704
    vocab_size: int | None = None
    rope_theta: float = 10000.0
    dropout: float = 0.0
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        """Check what would otherwise fail as a shape error deep inside."""
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]
        if self.patch_size < 4 or self.patch_size & (self.patch_size - 1):
            raise ValueError(f"patch_size is a power of 2, at least 4, not {self.patch_size}")
        if self.window_size % self.patch_size:
            raise ValueError(f"window_size {self.window_size} is no multiple of {self.patch_size}")
        for width, heads in (
            (self.hidden_size, self.heads),
            (self.vision_size, self.vision_heads),
            (self.query_size, self.query_heads),
        ):
            if width % heads:
                raise ValueError(f"width {width} does not divide into {heads} heads")

    @property
    def token_rows(self) -> int:
        """Rows of the token embedding, refused where nobody said how many."""
        if self.vocab_size is None:
            raise ValueError(
                "vocab_size is not set: give the tokens of the tokenizer that goes with the "
                "model, such as NanoTokenizer().vocab_size"
            )
        return self.vocab_size


class TerrascopeConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """Everything that decides what a TerraScope model computes.

    Parameters
    ----------
    backbone : str
        ``"nano"`` or ``"internvl"``.
    nano_config : NanoConfig, dict or None
        Of the nano backbone.
    vision_language_config : PreTrainedConfig, dict or None
        ``InternVLConfig`` of the 8b backbone.
    mask_config : PreTrainedConfig, dict or None
        ``Sam2Config`` of the 8b backbone.
    optical_composite : str
        Bands that the 8b backbone sees of an optical image: ``"rgb"`` or another of
        ``terrascope.model.pictures.COMPOSITES``. The nano sees them all.
    token_cap : int
        Visual tokens injected per mask, at most.
    cell_threshold : float
        A cell is covered where more than this share of its area lies in the mask.
    mask_threshold : float
        A pixel is in the mask where its probability is above this.
    injection : str
        Which visual tokens follow a mask: those of its cells (``"mask"``), of its bounding box
        (``"box"``), as many from anywhere (``"random"``), or ``"none"``. The others exist to
        measure what the first is worth; a model runs as it was trained.
    pad_token_id, bos_token_id, eos_token_id : int
        Of the tokenizer.
    seg_token_id, image_token_id : int
        ``[SEG]`` and the placeholder of one image (nano) or one visual token (8b prompts are
        written with one per image too; the model expands it).
    measure_token_id, measure_end_token_id : int or None
        ``<measure>`` and ``</measure>``, where the tokenizer has them.
    language_weight, mask_weight : float
        Of the two parts of the objective.
    dice_weight, cross_entropy_weight : float
        Inside the mask part.
    boundary_weight : float
        Of the cross-entropy on pixels near the true boundary; 0 leaves it out.
    boundary_width : int
        Reach of "near", in pixels.
    contrastive_weight : float
        Of the token-level optical/radar alignment; 0 leaves it out.
    contrastive_temperature : float
        Of that alignment.
    mask_temperature : float
        Logits are divided by it before they become probabilities; fitted by calibration.
    correlation_length_m : float
        Of the errors of a mask, for sampled masks; fitted by calibration.
    answer_confidence : dict or None
        Settings of `terrascope.model.confidence.AnswerConfidence`, fitted by calibration.
    tie_word_embeddings : bool
        Of the library; the backbones decide for themselves.

    Notes
    -----
    Defaults of the mechanism and of the objective are those of [1]_, with the boundary and the
    contrastive term (ours) off.

    References
    ----------
    .. [1] Shu et al. (2026). TerraScope. arXiv:2603.19039.
    """

    model_type = "terrascope"

    backbone: str = "nano"
    nano_config: dict[str, Any] | PreTrainedConfig | None = None
    vision_language_config: dict[str, Any] | PreTrainedConfig | None = None
    mask_config: dict[str, Any] | PreTrainedConfig | None = None
    optical_composite: str = "rgb"
    token_cap: int = 128
    cell_threshold: float = 0.5
    mask_threshold: float = 0.5
    injection: str = "mask"
    pad_token_id: int = 0
    bos_token_id: int = 1
    eos_token_id: int = 2
    seg_token_id: int = 3
    image_token_id: int = 4
    measure_token_id: int | None = None
    measure_end_token_id: int | None = None
    language_weight: float = 1.0
    mask_weight: float = 0.5
    dice_weight: float = 1.0
    cross_entropy_weight: float = 1.0
    boundary_weight: float = 0.0
    boundary_width: int = 2
    contrastive_weight: float = 0.0
    contrastive_temperature: float = 0.07
    mask_temperature: float = 1.0
    correlation_length_m: float = 60.0
    answer_confidence: dict[str, Any] | None = None
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        """Turn the nested dicts of a saved file into configurations, and check the settings."""
        self.nano_config = _nested(self.nano_config, NanoConfig)
        self.vision_language_config = _nested(self.vision_language_config, "internvl")
        self.mask_config = _nested(self.mask_config, "sam2")
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]
        if self.backbone not in BACKBONES:
            raise ValueError(f"backbone is one of {BACKBONES}, not {self.backbone!r}")
        if self.injection not in INJECTIONS:
            raise ValueError(f"injection is one of {INJECTIONS}, not {self.injection!r}")
        if self.token_cap < 1:
            raise ValueError(f"token_cap is at least 1, not {self.token_cap}")
        for name in ("cell_threshold", "mask_threshold"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is in [0, 1), not {getattr(self, name)}")
        if self.mask_temperature <= 0:
            raise ValueError(f"mask_temperature is above 0, not {self.mask_temperature}")

    @property
    def nano(self) -> NanoConfig:
        """Sizes of the nano backbone."""
        if not isinstance(self.nano_config, NanoConfig):
            raise ValueError(f"a {self.backbone!r} configuration has no nano_config")
        return self.nano_config

    @property
    def token_rows(self) -> int:
        """Rows of the token embedding of either backbone."""
        if self.backbone == "nano":
            return self.nano.token_rows
        if not isinstance(self.vision_language_config, PreTrainedConfig):
            raise ValueError(f"a {self.backbone!r} configuration needs vision_language_config")
        return int(self.vision_language_config.get_text_config().vocab_size)

    def check_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Refuse a tokenizer that does not go with this model.

        Parameters
        ----------
        tokenizer : PreTrainedTokenizerBase
            Of which the model is to read ids.

        Raises
        ------
        ValueError
            If it has more tokens than the model has rows, a nano has rows to spare, or a
            special token has another id than the configuration says.
        """
        tokens, rows = len(tokenizer), self.token_rows
        if tokens > rows or (self.backbone == "nano" and tokens != rows):
            raise ValueError(
                f"a tokenizer of {tokens} tokens for a model of {rows}: load both from the same "
                "folder, or configure the model with vocab_size=len(tokenizer)"
            )
        ids = SpecialIds.of(tokenizer)
        for name in ("pad", "bos", "eos", "seg", "image", "measure", "measure_end"):
            here, there = getattr(self, f"{name}_token_id"), getattr(ids, name)
            if here is not None and here != there:
                raise ValueError(
                    f"{name}_token_id is {here} in the configuration and {there} in the "
                    "tokenizer: load both from the same folder"
                )


def _nested(
    value: dict[str, Any] | PreTrainedConfig | None, kind: str | type[PreTrainedConfig]
) -> PreTrainedConfig | None:
    """Build a sub-configuration from what JSON gives."""
    if value is None or isinstance(value, PreTrainedConfig):
        return value
    made = CONFIG_MAPPING[kind] if isinstance(kind, str) else kind
    return made(**value)
