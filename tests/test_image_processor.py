"""Pictures to `pixel_values`: bit for bit as PULSE, GEM and transformers' own processors prepare them."""

import json

import numpy as np
import pytest
import transformers
from PIL import Image

import ecglm.models  # noqa: F401  (registers the image processor)
from ecglm import simulate
from ecglm.image import draw_page
from ecglm.processors import IMAGE_PRESETS, ECGImageProcessor

PAGE = "page_1100x850.png"
IMAGENET, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.mark.parametrize(
    "preset, name", [("llava_next", "anyres"), ("gem", "ori"), ("llava_1.5", "pad")], ids=lambda each: each
)
def test_a_page_is_prepared_as_by_pulse_and_gem(llava_fixtures, preset, name):
    stored = np.load(llava_fixtures / "page_views.npz")
    values = ECGImageProcessor(**IMAGE_PRESETS[preset])(Image.open(llava_fixtures / PAGE))["pixel_values"]
    values = values[0] if name == "anyres" else values
    clip = IMAGE_PRESETS["clip"] | {"size": 336}
    mean, std = (np.array(getattr(ECGImageProcessor(**clip), key))[:, None, None] for key in ("mean", "std"))
    assert np.array_equal(np.round((values * std + mean) * 255), stored[f"{name}_u8"])
    assert np.array_equal(values[:, :, ::48, ::48], stored[f"{name}_sample"])


def test_tiny_views_are_those_of_llava(llava_fixtures):
    stored = np.load(llava_fixtures / "tiny_llava_io.npz")
    pinpoints = [[28, 56], [56, 28], [56, 56], [84, 28], [28, 84]]
    processor = ECGImageProcessor(size=28, fit="anyres", pinpoints=pinpoints)
    batch = processor([stored["img0"], stored["img1"]])
    assert batch["num_views"].tolist() == [5, 4]
    assert batch["image_sizes"].tolist() == [[52, 70], [90, 40]]
    for number in (0, 1):
        views = stored[f"pixel_values{number}"]
        assert np.array_equal(batch["pixel_values"][number, : len(views)], views)
        assert not batch["pixel_values"][number, len(views) :].any()


def test_canvases_are_those_of_llava(llava_fixtures):
    grid = json.loads((llava_fixtures / "grid.json").read_text())
    processor = ECGImageProcessor(size=336, fit="anyres", pinpoints=grid["grid_pinpoints"])
    for row in grid["rows"]:
        across, down = processor.canvas(*row["size_wh"])
        assert [across, down] == row["best_wh"]
        assert 1 + across * down // 336**2 == row["n_views"]


def test_tiny_views_are_those_of_gem(gem_fixtures):
    stored = np.load(gem_fixtures / "tiny_gem_io.npz")
    values = ECGImageProcessor(**IMAGE_PRESETS["gem"] | {"size": 28})([stored["img0"], stored["img1"]])
    assert np.array_equal(values["pixel_values"], stored["pixel_values"])


@pytest.mark.parametrize(
    "preset, name, options",
    [
        ("vit", "ViT", {}),
        ("beit", "Beit", {"do_center_crop": False, "size": {"height": 224, "width": 224}, "resample": 2}),
        ("swin", "ViT", {"image_mean": IMAGENET, "image_std": IMAGENET_STD, "resample": 3}),
        ("siglip", "Siglip", {"resample": 3}),
        ("clip", "CLIP", {}),
    ],
)
def test_a_page_is_prepared_as_by_transformers(preset, name, options):
    """Within a grey level's hundredth: transformers fuses the division by 255 with the deviation's."""
    page = draw_page(simulate("normal", 1), dpi=60)
    theirs = getattr(transformers, f"{name}ImageProcessorPil")(**options)(page.image, return_tensors="np")
    ours = ECGImageProcessor(**IMAGE_PRESETS[preset])(page)
    np.testing.assert_allclose(ours["pixel_values"], theirs["pixel_values"], atol=1e-4)


def test_saved_and_loaded_is_bit_equal(tmp_path):
    page = draw_page(simulate("normal", 1), dpi=60)
    processor = ECGImageProcessor(**IMAGE_PRESETS["llava_next"], crop_box=(0.03, 0.18, 0.98, 0.97))
    processor.save_pretrained(tmp_path)
    again = transformers.AutoImageProcessor.from_pretrained(tmp_path)
    assert type(again) is ECGImageProcessor
    assert np.array_equal(processor(page)["pixel_values"], again(page)["pixel_values"])
    assert again.argument_names() == ECGImageProcessor.argument_names()
    assert {name: getattr(again, name) for name in again.argument_names()} == {
        name: getattr(processor, name) for name in processor.argument_names()
    }


def test_every_kind_of_picture_is_taken():
    grey = np.arange(64 * 48, dtype=np.uint16).reshape(48, 64) % 256
    rgb = np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    deep = Image.fromarray(grey * 257)
    see_through = Image.fromarray(np.dstack([rgb, np.full((48, 64), 255, np.uint8)]))
    processor = ECGImageProcessor(size=32)
    wanted = processor(rgb)["pixel_values"]
    for picture in (Image.fromarray(rgb), rgb[..., 0], rgb[..., :1], deep, see_through):
        assert np.array_equal(processor(picture)["pixel_values"], wanted)
    see_through.putalpha(0)
    assert np.array_equal(processor(see_through)["pixel_values"], processor(rgb * 0 + 255)["pixel_values"])


def test_a_photograph_is_turned_upright():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))
    lying = picture.transpose(Image.Transpose.ROTATE_90)
    lying.getexif()[274] = 6  # turn clockwise to see it upright
    processor = ECGImageProcessor(size=(40, 60))
    assert np.array_equal(processor(lying)["pixel_values"], processor(picture)["pixel_values"])


def test_the_header_can_be_left_out():
    picture = np.full((100, 200, 3), 255, np.uint8)
    picture[:20] = 0
    whole = ECGImageProcessor(size=10, resample="bilinear", mean=[0] * 3, std=[1] * 3)
    lower = ECGImageProcessor(
        size=10, resample="bilinear", mean=[0] * 3, std=[1] * 3, crop_box=(0, 0.2, 1, 1)
    )
    assert whole(picture)["pixel_values"].min() == 0
    assert lower(picture)["pixel_values"].min() == 1


@pytest.mark.parametrize(
    "bad, said",
    [
        ({"fit": "squash"}, "stretch, crop, pad, anyres"),
        ({"resample": "nearest"}, "bicubic, bilinear"),
        ({"size": 0}, "positive"),
        ({"size": (224, 448), "fit": "crop"}, "one positive number"),
        ({"fit": "anyres"}, "go together"),
        ({"pinpoints": [[224, 448]]}, "go together"),
        ({"fit": "anyres", "pinpoints": [[300, 448]]}, "multiples"),
        ({"crop_box": (0.5, 0, 0.5, 1)}, "left < right"),
    ],
)
def test_arguments_are_checked(bad, said):
    with pytest.raises(ValueError, match=said):
        ECGImageProcessor(**bad)


@pytest.mark.parametrize(
    "bad", [[], "page.png", np.zeros((4, 4, 3)), np.zeros((3, 8, 8), np.uint8), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_no_picture_is_refused(bad):
    with pytest.raises(ValueError):
        ECGImageProcessor()(bad)
